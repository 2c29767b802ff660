export * as AtomicFile from "./AtomicFile.ts"
export * as DataDirectory from "./DataDirectory.ts"
export {
  DataDirectoryLocked,
  FileCorrupt,
  FileVersionUnknown,
  type StorageError,
  StorageIo
} from "./StorageError.ts"
export type { DocumentFile, VersionedDocument } from "./VersionedDocument.ts"
