/** `mimosa trigger apply|diff|test <folder>`: a server's triggers as files in a folder, or as one file. */
import { createInterface } from "node:readline/promises"
import {
  optionsDefault,
  type TriggerDefinition,
  type TriggerEventName,
  type TriggerScope
} from "../triggers/Trigger.ts"
import type { TriggerFile } from "../triggers/TriggerFile.ts"
import {
  isDone,
  plan,
  read,
  type TriggerChange,
  TriggerFolderError,
  type TriggerPlan
} from "../triggers/TriggerFolder.ts"
import { type TriggerGraph, triggerGraph } from "../triggers/TriggerGraph.ts"
import { runTest, type TestFailure } from "../triggers/TriggerTest.ts"
import { CliError } from "./CliError.ts"
import { type Fields, recordOf, recordsOf } from "./Fields.ts"
import type { ClientOptions } from "./ping.ts"
import { print } from "./print.ts"
import { type RespClient, withClient } from "./RespClient.ts"
import { shownCycles } from "./triggerViews.ts"
import { visible } from "./visible.ts"

export interface DiffOptions extends ClientOptions {
  /** Removes what no file says. */
  readonly prune: boolean
  /** Names what only the server has, too. */
  readonly verbose: boolean
}

export interface ApplyOptions extends DiffOptions {
  /** Asks nobody. */
  readonly yes: boolean
  /** Shows what would be done, and does nothing. */
  readonly dryRun: boolean
  /** Does not run the files' own tests first. */
  readonly noTest: boolean
}

/**
 * Brings a server to what the folder says, showing the difference first. Files that cannot be used, or fail their own
 * tests, stop it at once.
 */
export const apply = async (options: ApplyOptions, [folder = ""]: readonly string[]): Promise<void> => {
  const files = await filesOf(folder, options)
  if (!options.noTest) refuseFailing(files)
  await withClient(options, async (client) => {
    const registered = await registeredOn(client)
    const made = plan(files, registered, options)
    show(made, cyclesOf(made, files, registered), options)
    if (isDone(made) || options.dryRun) return
    if (!options.yes) await confirm()
    const refused = await carryOut(client, made)
    if (refused.length > 0) throw new CliError(`not everything could be done:\n${refused.join("\n")}`)
    if (!options.json) print("applied")
  })
}

/** Shows the difference; ends with 1 where there is one. */
export const diff = async (options: DiffOptions, [folder = ""]: readonly string[]) => {
  const files = await filesOf(folder, options)
  await withClient(options, async (client) => {
    const registered = await registeredOn(client)
    const made = plan(files, registered, options)
    show(made, cyclesOf(made, files, registered), options)
    if (!isDone(made)) throw new CliError("the server differs from the folder; mimosa trigger apply brings it there")
  })
}

/** Runs the inline tests of a folder's files, here and without a server; ends with 1 when one fails. */
export const test = async ({ json }: { readonly json: boolean }, [folder = ""]: readonly string[]): Promise<void> => {
  const { files, errors } = await read(folder).catch(refuse)
  const results = resultsOf(files)
  const failed = results.filter(({ failures }) => failures.length > 0)
  const untested = files.filter(({ tests }) => tests.length === 0)
  if (json)
    print({ results, problems: errors.flatMap(({ file, problems }) => problems.map((each) => ({ file, ...each }))) })
  else {
    for (const { message } of errors) print(message)
    for (const result of results) for (const line of shownResult(result)) print(line)
    for (const { file } of untested) print(`none  ${file}  has no test`)
    print(`${results.length - failed.length} of ${results.length} tests passed, in ${files.length} files`)
  }
  if (errors.length > 0) throw new CliError(`${errors.length} files cannot be used`)
  if (failed.length > 0) throw new CliError(`${failed.length} of ${results.length} tests failed`)
}

interface TestResult {
  readonly file: string
  readonly line: number
  readonly title: string
  readonly failures: readonly TestFailure[]
}

const resultsOf = (files: readonly TriggerFile[]): readonly TestResult[] =>
  files.flatMap(({ file, definition, tests }) =>
    tests.map((test) => ({ file, line: test.line, title: test.title, failures: runTest(definition, test) }))
  )

const shownResult = ({ file, title, failures }: TestResult): readonly string[] => [
  visible(`${failures.length === 0 ? "ok  " : "FAIL"}  ${file}  ${title}`),
  ...failures.flatMap(({ line, expected, actual }) => [
    visible(`      line ${line} expects  ${expected}`),
    ...actual.map((each, at) => visible(`      ${at === 0 ? "but there was" : "             "}  ${each}`))
  ])
]

/** Nothing goes to a server that does not do what its own tests say. */
const refuseFailing = (files: readonly TriggerFile[]): void => {
  const failed = resultsOf(files).filter(({ failures }) => failures.length > 0)
  if (failed.length === 0) return
  const shown = failed.flatMap(shownResult).join("\n")
  throw new CliError(`nothing was compared or changed, because of tests that fail (--no-test skips them):\n${shown}`)
}

/** The folder's files, or all that is wrong with them. */
const filesOf = async (folder: string, { prune }: DiffOptions): Promise<readonly TriggerFile[]> => {
  const { files, errors, isFolder } = await read(folder).catch(refuse)
  if (prune && !isFolder) throw new CliError(`--prune takes a folder; ${folder} is one file, and all others would go`)
  if (errors.length === 0) return files
  throw new CliError(`nothing was compared or changed, because of:\n${errors.map(({ message }) => message).join("\n")}`)
}

const refuse = (error: unknown): never => {
  throw error instanceof TriggerFolderError ? new CliError(error.message) : error
}

const registeredOn = async (client: RespClient): Promise<TriggerDefinition[]> => {
  const names = recordsOf(await client.send("TRIGGER", "LIST")).map(({ name }) => String(name))
  const definitions: TriggerDefinition[] = []
  for (let at = 0; at < names.length; at += askedAtOnce) {
    const infos = names.slice(at, at + askedAtOnce).map((name) => client.send("TRIGGER", "INFO", name))
    for (const info of await Promise.all(infos)) definitions.push(definitionOf(recordOf(info)))
  }
  return definitions
}

const askedAtOnce = 500 // commands; as many as an answer of a few megabytes has

/** A definition out of what INFO answers; its options stand there in the words of TRIGGER SET. */
const definitionOf = (info: Fields): TriggerDefinition => {
  const words = ` ${info.options} `
  const has = (option: string): boolean => words.includes(` ${option} `)
  return {
    name: String(info.name),
    pattern: String(info.pattern),
    events: String(info.events).split(",") as TriggerEventName[],
    source: String(info.source),
    timeoutUs: Number(info.timeout_us),
    memoryBytes: Number(info.memory_bytes),
    priority: Number(info.priority),
    whenChanged: has("WHEN CHANGED"),
    sample: Number(/ SAMPLE (\d+) /.exec(words)?.[1] ?? optionsDefault.sample),
    includeFill: has("INCLUDE fill"),
    includeFlush: has("INCLUDE flush"),
    scope: (/ SCOPE (\w+) /.exec(words)?.[1] ?? optionsDefault.scope) as TriggerScope,
    failClosed: has("FAILCLOSED"),
    isolate: has("ISOLATE"),
    isEnabled: info.status !== "disabled"
  }
}

const setCommand = ({ definition }: TriggerFile): readonly string[] => {
  const { name, pattern, events, source, timeoutUs, memoryBytes, priority, sample, scope } = definition
  const { whenChanged, includeFill, includeFlush, failClosed, isolate, isEnabled } = definition
  return [
    ...["TRIGGER", "SET", name, pattern, events.join(",")],
    ...["TIMEOUT", `${timeoutUs}`, "MEMORY", `${memoryBytes}`, "PRIORITY", `${priority}`],
    ...(sample === optionsDefault.sample ? [] : ["SAMPLE", `${sample}`]),
    ...(scope === optionsDefault.scope ? [] : ["SCOPE", scope]),
    ...(whenChanged ? ["WHEN", "CHANGED"] : []),
    ...(includeFill ? ["INCLUDE", "fill"] : []),
    ...(includeFlush ? ["INCLUDE", "flush"] : []),
    ...(failClosed ? ["FAILCLOSED"] : []),
    ...(isolate ? ["ISOLATE"] : []),
    ...(isEnabled ? [] : ["DISABLED"]),
    source
  ]
}

/** Does what the plan says; answers what the server refused. Nothing is removed where something was. */
const carryOut = async (client: RespClient, { create, change, remove }: TriggerPlan): Promise<readonly string[]> => {
  const refused: string[] = []
  const attempt = (what: string, command: readonly string[]) =>
    client.send(...command).catch((error: Error) => {
      if (!(error instanceof CliError)) throw error
      refused.push(`${what}: ${error.message}`)
    })
  for (const file of [...create, ...change.map(({ file }) => file)]) await attempt(file.file, setCommand(file))
  if (refused.length > 0) return refused
  for (const name of remove) await attempt(name, ["TRIGGER", "REMOVE", name])
  return refused
}

const confirm = async (): Promise<void> => {
  if (!process.stdin.isTTY) throw new CliError("nobody can be asked here: --yes applies it, --dry-run only shows it")
  const asked = createInterface({ input: process.stdin, output: process.stdout })
  const answer = await asked.question("Apply this? [y/N] ")
  asked.close()
  if (!/^y(es)?$/i.test(answer.trim())) throw new CliError("nothing was changed")
}

type Cycles = TriggerGraph["cycles"]

/** Where triggers set each other off in circles, once the plan is carried out: of those that it changes or creates. */
const cyclesOf = (
  { create, change, keep }: TriggerPlan,
  files: readonly TriggerFile[],
  registered: readonly TriggerDefinition[]
): Cycles => {
  const changing = new Set([...create, ...change.map(({ file }) => file)].map(({ definition }) => definition.name))
  if (changing.size === 0) return []
  const kept = new Set(keep)
  const after = [...files.map(({ definition }) => definition), ...registered.filter(({ name }) => kept.has(name))]
  return triggerGraph(after).cycles.filter((cycle) => cycle.some((name) => changing.has(name)))
}

const show = (made: TriggerPlan, cycles: Cycles, { json, verbose }: DiffOptions): void => {
  if (json) print({ ...planAsJson(made), cycles })
  else print([shownPlan(made, verbose), ...(cycles.length === 0 ? [] : shownCycles(cycles))].join("\n"))
}

const shownPlan = (made: TriggerPlan, isVerbose: boolean): string => {
  const { create, change, unchanged, remove, keep } = made
  const lines = [
    ...create.map(
      ({ file, definition: { name, pattern, events } }) => `+ ${name}  ${events.join(", ")} of ${pattern}  (${file})`
    ),
    ...change.flatMap(shownChange),
    ...remove.map((name) => `- ${name}`),
    ...(isVerbose
      ? keep.map((name) => `  ${name}  is on the server alone; --prune removes it`)
      : shownKept(keep.length))
  ]
  const counts = [
    `${create.length} to create`,
    `${change.length} to change`,
    `${remove.length} to remove`,
    `${unchanged.length} unchanged`
  ]
  return [...lines.map(visible), counts.join(", ")].join("\n")
}

const shownKept = (count: number): readonly string[] =>
  count === 0 ? [] : [`  ${count} on the server alone (--verbose lists them)`]

const shownChange = ({ file, fields, source }: TriggerChange): string[] => [
  `~ ${file.definition.name}  (${file.file})`,
  ...fields.map(({ field, was, is }) => `    ${field}: ${was} -> ${is}`),
  ...source.map(([sign, text]) => (sign === "@" ? `    … ${text}` : `    ${sign} ${text}`.trimEnd()))
]

const planAsJson = ({ create, change, unchanged, remove, keep }: TriggerPlan) => {
  const nameOf = ({ definition }: TriggerFile) => definition.name
  return {
    create: create.map(nameOf),
    change: change.map(({ file, fields, source }) => ({ name: nameOf(file), fields, source })),
    unchanged: unchanged.map(nameOf),
    remove,
    keep
  }
}
