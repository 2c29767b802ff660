/**
 * A supervision tree as plain data: what `tree` answers, what is printed, what goes out as JSON.
 */
import * as ExitReason from "../ExitReason.ts"
import type { ChildRow, ProcessImpl, Status } from "./process.ts"

export interface TreeNode {
  /** The child's id in its supervisor; at the top the process' label. */
  readonly name: string
  /** `<0.42 label>`, or null when it is not running. */
  readonly pid: string | null
  readonly type: "worker" | "supervisor"
  readonly status: Status | "restarting"
  /** How often its supervisor has restarted it. */
  readonly restarts: number
  /** Messages that wait, signals not counted. */
  readonly mailboxDepth: number
  /** Messages and signals that this process (not those before it) has taken: what Erlang counts in reductions. */
  readonly messagesHandled: number
  /** How the process before this one ended: `crash: Error: boom`. Null if there was none. */
  readonly lastExit: string | null
  /** Bytes that it holds, where it says so. */
  readonly memoryBytes?: number
  /** What the process shows of itself. */
  readonly inspect?: Record<string, unknown>
  readonly children: ReadonlyArray<TreeNode>
}

/** The tree below `process`. */
export const of = (process: ProcessImpl): TreeNode =>
  nodeOf({
    id: process.label,
    pid: process,
    type: process.isSupervisor ? "supervisor" : "worker",
    restarts: 0,
    lastExit: process.exitReason,
    isRestarting: false
  })

/** One line a process, indented by two spaces a level. */
export const format = (node: TreeNode, indent = ""): string => {
  const facts = [
    node.status,
    `${node.messagesHandled} handled`,
    ...(node.mailboxDepth > 0 ? [`${node.mailboxDepth} waiting`] : []),
    ...(node.memoryBytes === undefined ? [] : [`${bytes(node.memoryBytes)} held`]),
    ...(node.restarts > 0 ? [`${node.restarts} restarts`] : []),
    ...(node.lastExit === null ? [] : [`last exit ${node.lastExit}`])
  ]
  const line = `${indent}${node.name}  ${node.pid ?? "-"}  ${facts.join(", ")}`
  return [line, ...node.children.map((child) => format(child, `${indent}  `))].join("\n")
}

const nodeOf = (row: ChildRow): TreeNode => {
  const { pid } = row
  const inspect = pid === null ? undefined : inspectOf(pid)
  const memoryBytes = pid === null ? undefined : memoryOf(pid)
  return {
    name: row.id,
    pid: pid === null ? null : pid.toString(),
    type: row.type,
    status: row.isRestarting ? "restarting" : (pid?.status ?? "exited"),
    restarts: row.restarts,
    mailboxDepth: pid?.mailbox.depth ?? 0,
    messagesHandled: pid?.handled ?? 0,
    lastExit: row.lastExit === null ? null : ExitReason.format(row.lastExit),
    ...(memoryBytes === undefined ? {} : { memoryBytes }),
    ...(inspect === undefined ? {} : { inspect }),
    children: pid === null ? [] : (pid.children?.() ?? linkedChildren(pid)).map(nodeOf)
  }
}

/** The processes that one that is no supervisor has started: the attempts of a dispatcher, the tasks of a server. */
const linkedChildren = (parent: ProcessImpl): ReadonlyArray<ChildRow> =>
  [...(parent.links ?? [])].filter((process) => process.parent === parent).map(unsupervised)

const unsupervised = (pid: ProcessImpl): ChildRow => ({
  id: pid.label === "" ? "process" : pid.label,
  pid,
  type: "worker",
  restarts: 0,
  lastExit: null,
  isRestarting: false
})

/** A process that cannot say how it is must not break the picture of all the others. */
const inspectOf = (pid: ProcessImpl): Record<string, unknown> | undefined => {
  try {
    return pid.inspect()
  } catch (error) {
    return { inspectFailed: String(error) }
  }
}

const memoryOf = (pid: ProcessImpl): number | undefined => {
  try {
    return pid.memoryBytes()
  } catch {
    return undefined
  }
}

/** For people: `512 B`, `1.5 KiB`, `12 MiB`. */
const bytes = (count: number): string => {
  let [value, unit] = [count, 0]
  for (; value >= 1024 && unit < units.length - 1; unit++) value /= 1024
  return `${value < 10 && unit > 0 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`
}

const units = ["B", "KiB", "MiB", "GiB"]
