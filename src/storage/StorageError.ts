import { Data } from "effect"

/** Another live process owns the data directory. */
export class DataDirectoryLocked extends Data.TaggedError("DataDirectoryLocked")<{
  readonly directory: string
  readonly pid: number
}> {
  override get message() {
    return `data directory ${this.directory} is in use by process ${this.pid}: stop it, or choose another directory`
  }
}

/** A file is there, but does not hold what it should. It is left as it is. */
export class FileCorrupt extends Data.TaggedError("FileCorrupt")<{
  readonly path: string
  readonly reason: string
}> {
  override get message() {
    return `${this.path} cannot be read: ${this.reason}. It was left as it is: repair it, or move it away to start empty`
  }
}

/** A file was written by a version that this one does not know. It is left as it is. */
export class FileVersionUnknown extends Data.TaggedError("FileVersionUnknown")<{
  readonly path: string
  readonly found: number
  readonly supported: number
}> {
  override get message() {
    return `${this.path} has format version ${this.found}, this program reads ${this.supported}: run the version that wrote it, or move the file away`
  }
}

/** The operating system refused; `cause` is its error. */
export class StorageIo extends Data.TaggedError("StorageIo")<{
  readonly operation: string
  readonly path: string
  readonly cause: unknown
}> {
  override get message() {
    return `${this.operation} ${this.path} failed: ${this.cause instanceof Error ? this.cause.message : String(this.cause)}`
  }
}

export type StorageError = DataDirectoryLocked | FileCorrupt | FileVersionUnknown | StorageIo
