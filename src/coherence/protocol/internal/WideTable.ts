/**
 * The last sequence of each operation that no bucket stands for, in the order of these: a map for each operation into
 * one list. Past `max` the one that is longest ago goes, and the floor rises to it. (The order of a Map would do, but to
 * take its first key again and again steps over all that were taken before.) Each of the steps costs O(1).
 */
import { Op, type WideRecord } from "../Frame.ts"

export class WideTable {
  /** Of the operations up to this sequence some may be lost. */
  private floor = 0
  private size = 0
  /** Operation → hash → where it stands in the list. */
  private readonly nodes: ReadonlyMap<number, Map<number, Node>> = new Map(wideOps.map((op) => [op, new Map()]))
  /** Before the oldest one and after the newest one. */
  private readonly ends = endsOfNothing()

  constructor(readonly max: number) {}

  /** The operation happened again; its sequence is higher than all before. */
  note(op: number, hash: number, sequence: number): void {
    const nodes = this.nodes.get(op)
    if (nodes === undefined) throw new RangeError(`operation ${op} is none of ${Op.key}, ${wideOps.join(", ")}`)
    let node = nodes.get(hash)
    if (node === undefined) {
      node = { op, hash, sequence, older: this.ends, newer: this.ends }
      nodes.set(hash, node)
      this.size++
    } else {
      node.sequence = sequence
      unlink(node)
    }
    this.append(node)
    if (this.size > this.max) this.forget(this.ends.newer)
  }

  /** Those after `since`, the oldest first; null when it is not known which. */
  since(since: number): WideRecord[] | null {
    if (since < this.floor) return null
    const records: WideRecord[] = []
    for (let node = this.ends.older; node.sequence > since; node = node.older) {
      records.push({ op: node.op, hash: node.hash, sequence: node.sequence })
    }
    return records.reverse()
  }

  private append(node: Node): void {
    node.older = this.ends.older
    node.newer = this.ends
    node.older.newer = node
    this.ends.older = node
  }

  private forget(node: Node): void {
    unlink(node)
    this.nodes.get(node.op)?.delete(node.hash)
    this.size--
    this.floor = node.sequence
  }
}

interface Node {
  readonly op: number
  readonly hash: number
  sequence: number
  older: Node
  newer: Node
}

const unlink = (node: Node): void => {
  node.older.newer = node.newer
  node.newer.older = node.older
}

/** The node at both ends of a list; its sequence, 0, is lower than any. */
const endsOfNothing = (): Node => {
  const ends = { op: 0, hash: 0, sequence: 0 } as Node
  ends.older = ends
  ends.newer = ends
  return ends
}

const wideOps: readonly number[] = [Op.tag, Op.prefix, Op.clear, Op.define]
