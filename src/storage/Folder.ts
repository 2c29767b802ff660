/**
 * A folder of small files in the data directory, each of which reads as one whole version whenever the process or the
 * machine dies: what there are many of and change one by one, such as tenants and their scripts.
 *
 * A file's name is a path of one or two parts, `acme/hello.lua`. On disk a capital letter stands behind a `+`
 * (`+acme/hello.lua`), so that names that differ in case alone are two files everywhere, also where the file system
 * cannot tell them apart. New content is written to a hidden file beside it and renamed over it, as AtomicFile does
 * [1]; a change of several files syncs each directory once. What a crash has left of it is removed when the folder is
 * read; other files, hidden ones and those whose names could not be ours, are left alone and told of. Changes take
 * turns: the data directory has one owner.
 *
 * [1] POSIX rename(2) is atomic for those who look; only fsync(2) of file and directory makes it durable.
 */
import * as fs from "node:fs/promises"
import { basename, dirname, join } from "node:path"
import { Effect } from "effect"
import { makeDirectory, syncDirectory, writeSynced } from "./internal/files.ts"
import { StorageIo } from "./StorageError.ts"

export interface Folder {
  /** Absolute. */
  readonly path: string
  /** All that is there. What a crash has left of a change goes: to be run before the first change. */
  readonly read: Effect.Effect<FolderContent, StorageIo>
  /**
   * Replaces files, and removes those whose content is null; returns when all of it is on disk. Each is the old one or
   * the new one whatever happens, not all of them together. A name that is none is a defect: see `isFileName`.
   */
  readonly change: (changes: ReadonlyMap<string, Uint8Array | null>) => Effect.Effect<void, StorageIo>
  /** Removes all files whose names have this first part of two; returns when that is on disk. */
  readonly removeBelow: (part: string) => Effect.Effect<void, StorageIo>
}

export interface FolderContent {
  /** By name, in its order. */
  readonly files: ReadonlyMap<string, Uint8Array>
  /** Paths of what is there and can be no file of ours, by its name or its kind. */
  readonly strangers: readonly string[]
}

/** One or two parts of 1 to 100 of the characters `A-Z a-z 0-9 _ . -`, neither beginning with a dot. */
export const isFileName = (name: string): boolean => fileName.test(name)

/** The file's own path. */
export const pathOf = (folder: Folder, name: string): string => join(folder.path, onDisk(name))

/** `path` lies in a directory that exists and that nobody else writes to; it is made where it is missing. */
export const open = (path: string): Effect.Effect<Folder, StorageIo> =>
  Effect.gen(function* () {
    const turn = yield* Effect.makeSemaphore(1)
    yield* attempt("opening", path, async () => {
      await makeDirectory(path)
      await syncDirectory(dirname(path))
    })
    /** A promise runs on when interrupted: the turn is held until it ends. */
    const inTurn = (what: () => Promise<void>) =>
      attempt("changing files in", path, what).pipe(Effect.uninterruptible, turn.withPermits(1))
    return {
      path,
      read: attempt("reading", path, () => readAll(path)),
      change: (changes) => {
        for (const name of changes.keys()) if (!isFileName(name)) return noName(name)
        return inTurn(() => changeAll(path, changes))
      },
      removeBelow: (part) => {
        if (part.includes("/") || !isFileName(part)) return noName(part)
        return inTurn(async () => {
          const names = await namesIn(path, part)
          await changeAll(path, new Map(names.map((name) => [name, null])))
        })
      }
    }
  })

const noName = (name: string): Effect.Effect<never> => Effect.dieMessage(`'${name}' is no name of a file`)

const changeAll = async (path: string, changes: ReadonlyMap<string, Uint8Array | null>): Promise<void> => {
  const files = Array.from(changes, ([name, content]) => ({ file: join(path, onDisk(name)), content }))
  const changed = new Set<string>()
  for (const directory of new Set(files.flatMap(({ file, content }) => (content === null ? [] : dirname(file))))) {
    if (directory !== path && (await made(directory))) changed.add(path)
  }
  await inParallel(files, async ({ file, content }) => {
    if (content === null ? await removed(file) : await replaced(file, content)) changed.add(dirname(file))
  })
  await inParallel([...changed], syncDirectory)
  const emptied = new Set(files.flatMap(({ file, content }) => (content === null ? dirname(file) : [])))
  emptied.delete(path)
  let hasEmptied = false
  for (const directory of emptied) if (await removedIfEmpty(directory)) hasEmptied = true
  if (hasEmptied) await syncDirectory(path)
}

/** Returns, or throws the first failure, when all of them have ended. */
const inParallel = async <A>(items: readonly A[], run: (item: A) => Promise<void>): Promise<void> => {
  let next = 0
  const worker = async (): Promise<void> => {
    while (next < items.length) await run(items[next++] as A)
  }
  const ends = await Promise.allSettled(Array.from({ length: Math.min(parallelMax, items.length) }, worker))
  for (const end of ends) if (end.status === "rejected") throw end.reason
}

const parallelMax = 16 // files at once: the file system syncs them together, in half the time

const replaced = async (file: string, content: Uint8Array): Promise<boolean> => {
  const temporary = join(dirname(file), `.${basename(file)}.tmp`)
  await writeSynced(temporary, content)
  await fs.rename(temporary, file)
  return true
}

const readAll = async (path: string): Promise<FolderContent> => {
  const names: string[] = []
  const strangers: string[] = []
  const walk = async (directory: string, depth: number): Promise<void> => {
    const entries = await fs.readdir(join(path, directory), { withFileTypes: true })
    for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
      const found = directory === "" ? entry.name : `${directory}/${entry.name}`
      const name = inMemory(found)
      if (leftover.test(entry.name)) await fs.rm(join(path, found), { force: true })
      else if (name !== undefined && entry.isFile()) names.push(name)
      else if (name !== undefined && entry.isDirectory() && depth === 1) await walk(found, 2)
      else strangers.push(join(path, found))
    }
  }
  await walk("", 1)
  const files = new Map<string, Uint8Array>(names.map((name) => [name, nothing]))
  await inParallel(names, async (name) => void files.set(name, await fs.readFile(join(path, onDisk(name)))))
  return { files, strangers }
}

const nothing = new Uint8Array()

/** The names of the files whose first part is this one. */
const namesIn = async (path: string, part: string): Promise<string[]> => {
  try {
    const found = await fs.readdir(join(path, onDisk(part)), { withFileTypes: true })
    const files = found.filter((entry) => entry.isFile())
    return files.flatMap((entry) => inMemory(`${onDisk(part)}/${entry.name}`) ?? [])
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return []
    throw error
  }
}

const onDisk = (name: string): string => name.replace(/[A-Z]/g, (letter) => `+${letter.toLowerCase()}`)

/** The name of what is found on disk; undefined where it is none that we write. */
const inMemory = (found: string): string | undefined => {
  const name = found.replace(/\+([a-z])/g, (_, letter: string) => letter.toUpperCase())
  return isFileName(name) && onDisk(name) === found ? name : undefined
}

const fileName = /^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}(\/[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99})?$/
const leftover = /^\..+\.tmp$/

const made = async (directory: string): Promise<boolean> => {
  try {
    await fs.mkdir(directory, { mode: 0o700 })
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false
    throw error
  }
}

const removed = async (file: string): Promise<boolean> => {
  try {
    await fs.unlink(file)
    return true
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === "ENOENT" || code === "ENOTDIR") return false
    throw error
  }
}

const removedIfEmpty = async (directory: string): Promise<boolean> => {
  try {
    await fs.rmdir(directory)
    return true
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === "ENOTEMPTY" || code === "EEXIST" || code === "ENOENT") return false
    throw error
  }
}

const attempt = <A>(operation: string, path: string, run: () => Promise<A>): Effect.Effect<A, StorageIo> =>
  Effect.tryPromise({ try: run, catch: (cause) => new StorageIo({ operation, path, cause }) })
