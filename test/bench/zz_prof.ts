import { randomBytes } from "node:crypto"
import { Member, pause } from "./coherenceFleet.ts"
import { openProgram } from "./coherenceProgram.ts"
const [what = "linked", op = "set"] = process.argv.slice(2)
const namespace = `prof-${randomBytes(6).toString("hex")}`
const other = what === "linked" ? Member.start() : null
const program = await openProgram(what === "off" ? {} : { namespace })
if (other) { await other.ask({ what: "mimosa", namespace, place: {} }); await other.ask({ what: "members", count: 1 }) }
const keys = Array.from({ length: 10_240 }, (_, i) => `session:${(i * 7919) % 10_240}`)
const { cache, keyspace } = program
const ops: Record<string, (i: number) => void> = {
  set: (i) => void cache.unsafeSet(keys[i % keys.length]!, `v${i & 7}`),
  kernel: (i) => void keyspace.set(keys[i % keys.length]!, "v"),
  del: (i) => { cache.unsafeSet(keys[i % keys.length]!, "v"); cache.unsafeDelete(keys[i % keys.length]!) },
  new: (i) => void cache.unsafeSet(`new:${i}`, "v"),
}
const work = ops[op]!
const times: number[] = [], walls: number[] = []
for (let b = 0; b < 120; b++) {
  const c0 = process.cpuUsage(), w0 = process.hrtime.bigint()
  for (let t = 0; t < 20; t++) {
    for (let n = 0; n < 1024; n++) work((b * 20 + t) * 1024 + n)
    for (let i = 0; i < 4; i++) await null
  }
  const c = process.cpuUsage(c0)
  times.push((c.user + c.system) * 1e3 / 20480); walls.push(Number(process.hrtime.bigint() - w0) / 20480)
  await pause(5)
}
const med = (a: number[]) => { a = a.slice(40).sort((x, y) => x - y); return `${a[a.length >> 3]!.toFixed(0)} ${a[a.length >> 1]!.toFixed(0)}` }
console.log(what, op, "cpu ns p12/p50", med(times), "wall", med(walls))
await other?.end(); await program.close(); process.exit(0)
