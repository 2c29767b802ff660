/**
 * What `mimosa top` shows, as text: two lines about the server, then its supervision tree, one process a line.
 */
import type { Supervisor } from "../actor/index.ts"

/** What a server said of itself at one moment. */
export interface Sample {
  readonly atMs: number
  readonly tree: Supervisor.TreeNode
  /** `/metrics`, the series of a name added up. */
  readonly metrics: ReadonlyMap<string, number>
  readonly version: string
}

/** Out of the answers of `/v1/processes` and `/metrics`. Throws where they are none. */
export const sampleOf = (processes: string, metrics: string, atMs: number): Sample => {
  const values = new Map<string, number>()
  for (const [, name, value] of metrics.matchAll(/^(\w+)(?:\{.*\})? (\S+)$/gm)) {
    values.set(name as string, (values.get(name as string) ?? 0) + Number(value))
  }
  const version = /^mimosa_build_info\{version="([^"]*)"\}/m.exec(metrics)?.[1] ?? "?"
  return { atMs, tree: JSON.parse(processes) as Supervisor.TreeNode, metrics: values, version }
}

/** The lines of a picture. Rates are those between the two samples; without `before` they are not known. */
export const picture = (now: Sample, before: Sample | null = null): string[] => [
  ...headOf(now, before),
  "",
  ...tableOf(now, before)
]

// The server

const headOf = (now: Sample, before: Sample | null): string[] => {
  const value = (name: string) => now.metrics.get(name) ?? 0
  const rate = (name: string) => {
    if (before === null || now.atMs <= before.atMs) return "-"
    return count(((value(name) - (before.metrics.get(name) ?? 0)) * 1000) / (now.atMs - before.atMs))
  }
  const reads = value("mimosa_keyspace_hits_total") + value("mimosa_keyspace_misses_total")
  const hits = reads === 0 ? "-" : `${Math.round((100 * value("mimosa_keyspace_hits_total")) / reads)} %`
  const lines = [
    [
      `mimosa ${now.version}`,
      `up ${duration(now.atMs / 1000 - value("mimosa_start_time_seconds"))}`,
      `${count(value("mimosa_clients"))} clients`,
      `${count(value("mimosa_keyspace_entries"))} keys`,
      size(value("mimosa_keyspace_bytes")),
      `${size(value("process_resident_memory_bytes"))} resident`
    ],
    [
      `${rate("mimosa_commands_total")} ops/s`,
      `${hits} hits`,
      `${rate("mimosa_trigger_runs_total")} trigger runs/s`,
      `${count(value("mimosa_webhooks_pending"))} webhooks pending`,
      `${count(value("mimosa_processes"))} processes`,
      `${count(value("mimosa_process_restarts_total"))} restarts`
    ]
  ]
  return lines.map((facts) => facts.join("   "))
}

// The tree

const head = ["NAME", "PID", "STATUS", "RESTARTS", "WAITING", "HANDLED", "/S", "MEMORY", "LAST EXIT"] as const
const isNumber = [false, false, false, true, true, true, true, true, false] as const
const siblingsMax = 20 // shown of one supervisor's children; connections come by the thousand
const exitLengthMax = 60 // characters of a last exit, which may hold a whole error message

type Row = readonly string[]

const tableOf = (now: Sample, before: Sample | null): string[] => {
  const handledBefore = new Map<string, number>()
  if (before !== null) {
    for (const { pid, messagesHandled } of nodesOf(before.tree))
      if (pid !== null) handledBefore.set(pid, messagesHandled)
  }
  const seconds = before === null ? 0 : (now.atMs - before.atMs) / 1000
  const rowOf = (node: Supervisor.TreeNode, branch: string): Row => {
    const { pid, messagesHandled } = node
    const handled = pid === null ? undefined : handledBefore.get(pid)
    return [
      branch + node.name,
      pid === null ? "-" : (pid.slice(1).split(/[ >]/, 1)[0] as string),
      node.status,
      count(node.restarts),
      count(node.mailboxDepth),
      count(messagesHandled),
      handled === undefined || seconds <= 0 ? "-" : count((messagesHandled - handled) / seconds),
      memoryOf(node),
      shortened(node.lastExit ?? "", exitLengthMax)
    ]
  }
  const rows: Row[] = []
  const walk = (node: Supervisor.TreeNode, branch: string, indent: string) => {
    rows.push(rowOf(node, branch))
    const shown = node.children.slice(0, siblingsMax)
    const hidden = node.children.length - shown.length
    for (const [at, child] of shown.entries()) {
      const isLast = at === shown.length - 1 && hidden === 0
      walk(child, `${indent}${isLast ? "└─ " : "├─ "}`, `${indent}${isLast ? "   " : "│  "}`)
    }
    if (hidden > 0) rows.push([`${indent}└─ … ${count(hidden)} more`])
  }
  walk(now.tree, "", "")
  return aligned([head, ...rows])
}

const nodesOf = (node: Supervisor.TreeNode): Supervisor.TreeNode[] => [node, ...node.children.flatMap(nodesOf)]

/** What a process says it holds. */
const memoryOf = ({ memoryBytes }: Supervisor.TreeNode): string => (memoryBytes === undefined ? "-" : size(memoryBytes))

const aligned = (rows: readonly Row[]): string[] => {
  const widths = head.map((_, column) => Math.max(...rows.map((row) => (row[column] ?? "").length)))
  return rows.map((row) =>
    row
      .map((text, column) => {
        const width = widths[column] as number
        return isNumber[column] ? text.padStart(width) : text.padEnd(width)
      })
      .join("  ")
      .trimEnd()
  )
}

// Numbers for people

const count = (value: number): string => Math.round(value).toLocaleString("en")

const size = (bytes: number): string => {
  if (bytes < 1024) return `${bytes} B`
  const [unit, of] = bytes < 1024 ** 2 ? ["KiB", 1024] : bytes < 1024 ** 3 ? ["MiB", 1024 ** 2] : ["GiB", 1024 ** 3]
  return `${(bytes / (of as number)).toFixed(1)} ${unit}`
}

const duration = (seconds: number): string => {
  const whole = Math.max(0, Math.floor(seconds))
  const [days, hours, minutes] = [
    Math.floor(whole / 86_400),
    Math.floor(whole / 3600) % 24,
    Math.floor(whole / 60) % 60
  ]
  const clock = [hours, minutes, whole % 60].map((part) => String(part).padStart(2, "0")).join(":")
  return days === 0 ? clock : `${days}d ${clock}`
}

const shortened = (text: string, max: number): string => {
  const line = text.replace(/\s+/g, " ")
  return line.length > max ? `${line.slice(0, max - 1)}…` : line
}
