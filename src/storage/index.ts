export * as AtomicFile from "./AtomicFile.ts"
export * as DataDirectory from "./DataDirectory.ts"
export * as Folder from "./Folder.ts"
export {
  DataDirectoryLocked,
  FileCorrupt,
  FileVersionUnknown,
  type StorageError,
  StorageIo
} from "./StorageError.ts"
export {
  type DocumentFile,
  decode as decodeDocument,
  encode as encodeDocument,
  type VersionedDocument
} from "./VersionedDocument.ts"
