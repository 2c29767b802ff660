/**
 * What DEBUG CRASH asks of the program: that one of its processes crashes, now, so that everybody can see it come back.
 *
 * A process is named as `mimosa top` shows it: by its name, by its path below the root (`webhooks/dispatcher`), or by its
 * pid (`0.42`). It ends as its parent would end it, with a crash for a reason, so that its finalizers run, a supervisor
 * stops its children first, and trapping exits does not help it.
 */
import { ExitReason, Process, type Supervisor, Sys } from "../actor/index.ts"

/** Why no process crashed; `paths` are those that the name could mean. */
export type CrashRefusal =
  | { readonly why: "unknown" }
  | { readonly why: "ambiguous"; readonly paths: readonly string[] }
  | { readonly why: "root" }
  | { readonly why: "down" }

/** What a crashed process says of its end. */
export class CrashedByCommand extends Error {
  override readonly name = "CrashedByCommand"
}

export class DebugPort {
  /** `read` gives the tree as it is now; null when there is none. */
  constructor(private readonly read: () => Supervisor.TreeNode | null) {}

  /** Crashes the process that `target` names. Undefined when that is under way. `by` names who wanted it, for the log. */
  crash(target: string, by: string): CrashRefusal | undefined {
    const root = this.read()
    if (root === null) return { why: "unknown" }
    const places = placesOf(root)
    const byPid = places.filter(({ node }) => isPid(node, target))
    const byPath = byPid.length > 0 ? byPid : places.filter(({ path }) => path === target)
    const found = byPath.length > 0 ? byPath : places.filter(({ node }) => node.name === target)
    if (found.length > 1) return { why: "ambiguous", paths: found.map(({ path }) => path) }
    const node = found[0]?.node
    if (node === undefined) return { why: "unknown" }
    if (node === root) return { why: "root" }
    const pid = node.pid === null ? undefined : Process.list().find((pid) => String(pid) === node.pid)
    if (pid === undefined) return { why: "down" }
    Sys.unsafeTerminate(pid, ExitReason.crashWith(new CrashedByCommand(`DEBUG CRASH ${target}, sent by ${by}`)))
    return undefined
  }
}

interface Place {
  readonly node: Supervisor.TreeNode
  /** Names from below the root, with slashes between; the root's own is its name. */
  readonly path: string
}

const placesOf = (root: Supervisor.TreeNode): readonly Place[] => {
  const below = ({ node, path }: Place): Place[] => [
    { node, path },
    ...node.children.flatMap((child) =>
      below({ node: child, path: node === root ? child.name : `${path}/${child.name}` })
    )
  ]
  return below({ node: root, path: root.name })
}

/** `<0.42 label>`, `<0.42>` and `0.42` are one. */
const isPid = ({ pid }: Supervisor.TreeNode, target: string): boolean =>
  pid !== null && (pid === target || numberOf(pid) === target.replace(/^<(.*)>$/, "$1"))

const numberOf = (pid: string): string => pid.slice(1).split(/[ >]/, 1)[0] as string
