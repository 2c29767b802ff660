/**
 * A folder of trigger files, and what it takes for a server to have just these triggers.
 *
 * Reading never stops at the first problem: whoever mends a folder wants to hear of all of them. A plan compares
 * definitions, field by field and line by line; applied twice, it has nothing to do the second time. What a server has
 * and the folder has not is removed when that is asked for, and otherwise left alone and told of.
 */
import { readdir, readFile, stat } from "node:fs/promises"
import { join } from "node:path"
import { Data } from "effect"
import { toBytes } from "../cache/index.ts"
import { LuaVm } from "../sandbox/index.ts"
import { Run } from "./CacheApi.ts"
import { type DiffLine, lineDiff } from "./LineDiff.ts"
import { machineParts } from "./Machines.ts"
import type { TriggerDefinition } from "./Trigger.ts"
import { frontMatterOf, parse, type TriggerFile, TriggerFileError } from "./TriggerFile.ts"

export interface TriggerFolder {
  /** Those that nothing is wrong with, in the order of their paths. */
  readonly files: readonly TriggerFile[]
  readonly errors: readonly TriggerFileError[]
  /** False for a file that was read by itself. */
  readonly isFolder: boolean
}

export class TriggerFolderError extends Data.TaggedError("TriggerFolderError")<{
  readonly folder: string
  readonly reason: string
}> {
  override get message(): string {
    return `${this.folder} ${this.reason}`
  }
}

const filesMax = 10_000 // files a folder; what one server can take in a few seconds
const fileBytesMax = 64 * 1024 // bytes; the largest source that can be registered
const depthMax = 8 // folders in folders

/**
 * Reads every `.lua` file of the folder and of those in it, except what begins with a dot, and compiles each; or one
 * file, where a file is named. Rejects with `TriggerFolderError` when the folder cannot be read, has none, or has more
 * than 10,000.
 */
export const read = async (folder: string): Promise<TriggerFolder> => {
  const unreadable = (error: Error): never => {
    throw new TriggerFolderError({ folder, reason: `cannot be read: ${error.message}` })
  }
  const isFolder = !(await stat(folder).catch(unreadable)).isFile()
  const paths = isFolder ? await luaFilesIn(folder, 0, []).catch(unreadable) : [folder]
  if (paths.length === 0) throw new TriggerFolderError({ folder, reason: "has no .lua file in it" })
  if (paths.length > filesMax) {
    throw new TriggerFolderError({ folder, reason: `has more than ${filesMax} .lua files, which is the limit` })
  }
  const contents: Array<TriggerFile | TriggerFileError> = []
  for (const path of paths) contents.push(await contentOf(path))
  return { ...checked(contents), isFolder }
}

/** The paths below a folder, in order; a few more than allowed when there are too many. */
const luaFilesIn = async (folder: string, depth: number, found: string[]): Promise<string[]> => {
  const entries = await readdir(folder, { withFileTypes: true })
  for (const entry of entries.toSorted((a, b) => (a.name < b.name ? -1 : 1))) {
    const path = join(folder, entry.name)
    if (entry.name.startsWith(".") || found.length > filesMax) continue
    if (entry.isDirectory() && depth < depthMax) await luaFilesIn(path, depth + 1, found)
    // Behind a link stands what a mounted volume has for a file.
    else if (entry.name.endsWith(".lua") && !entry.isDirectory() && (await stat(path)).isFile()) found.push(path)
  }
  return found
}

const contentOf = async (path: string): Promise<TriggerFile | TriggerFileError> => {
  const problem = (reason: string) => new TriggerFileError({ file: path, problems: [{ line: 1, reason }] })
  try {
    const { size } = await stat(path)
    if (size > fileBytesMax) return problem(`it has ${size} bytes; ${fileBytesMax} are allowed`)
    return parse(path, utf8.decode(await readFile(path)))
  } catch (error) {
    return problem(error instanceof TypeError ? "it is not UTF-8" : `it cannot be read: ${(error as Error).message}`)
  }
}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })

/** Compiles them, and sees that no two have one name. */
const checked = (contents: ReadonlyArray<TriggerFile | TriggerFileError>): Omit<TriggerFolder, "isFolder"> => {
  const files: TriggerFile[] = []
  const errors: TriggerFileError[] = []
  const fileOf = new Map<string, string>()
  const machine = new LuaVm(machineParts(new Run("check"), () => 0))
  for (const content of contents) {
    const error = content instanceof TriggerFileError ? content : problemOf(content, machine, fileOf)
    if (error === undefined) files.push(content as TriggerFile)
    else errors.push(error)
  }
  return { files, errors }
}

const problemOf = (
  { file, definition: { name, source } }: TriggerFile,
  machine: LuaVm,
  fileOf: Map<string, string>
): TriggerFileError | undefined => {
  const problem = (line: number, reason: string) => new TriggerFileError({ file, problems: [{ line, reason }] })
  const other = fileOf.get(name)
  if (other !== undefined) return problem(1, `name: '${name}' is the name of ${other} already`)
  fileOf.set(name, file)
  const compiled = machine.define(name, toBytes(source))
  if (!compiled.ok) return problem(compiled.error.line, `column ${compiled.error.column}: ${compiled.error.message}`)
  machine.remove(compiled.program)
  return undefined
}

/** How a server comes to have the triggers of a folder. */
export interface TriggerPlan {
  readonly create: readonly TriggerFile[]
  readonly change: readonly TriggerChange[]
  readonly unchanged: readonly TriggerFile[]
  /** The names of what only the server has: to be removed, or left alone. */
  readonly remove: readonly string[]
  readonly keep: readonly string[]
}

export interface TriggerChange {
  readonly file: TriggerFile
  /** The fields of the front matter that differ, in its words. */
  readonly fields: ReadonlyArray<{ readonly field: string; readonly was: string; readonly is: string }>
  /** Empty where the sources are the same. */
  readonly source: readonly DiffLine[]
}

/** Whether a server has all that the plan wants. */
export const isDone = ({ create, change, remove }: TriggerPlan): boolean =>
  create.length + change.length + remove.length === 0

/** What is to be done for a server that has the triggers `registered` to have those of `files`. */
export const plan = (
  files: readonly TriggerFile[],
  registered: readonly TriggerDefinition[],
  { prune }: { readonly prune: boolean }
): TriggerPlan => {
  const there = new Map(registered.map((definition) => [definition.name, definition]))
  const create: TriggerFile[] = []
  const change: TriggerChange[] = []
  const unchanged: TriggerFile[] = []
  for (const file of files) {
    const { definition } = file
    const was = there.get(definition.name)
    there.delete(definition.name)
    if (was === undefined) create.push(file)
    else {
      const [before, now] = [frontMatterOf(was), frontMatterOf(definition)]
      const fields = Object.entries(now).flatMap(([field, is]) =>
        before[field] === is ? [] : [{ field, was: before[field] as string, is }]
      )
      const source = lineDiff(was.source, definition.source)
      if (fields.length + source.length === 0) unchanged.push(file)
      else change.push({ file, fields, source })
    }
  }
  const others = [...there.keys()]
  return { create, change, unchanged, remove: prune ? others : [], keep: prune ? [] : others }
}
