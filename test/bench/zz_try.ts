import { Fleet } from "./coherenceFleet.ts"
import { startRedis } from "../servers/Redis.ts"
import { startNats } from "../servers/Nats.ts"
const size = Number(process.argv[2] ?? 4)
const q = (a: readonly number[], p: number) => a[Math.min(a.length-1, Math.floor(p*a.length))]?.toFixed(3)
const show = (name: string, h: any) => console.log(name, "p50", q(h.latenciesMs,.5), "p99", q(h.latenciesMs,.99), "p999", q(h.latenciesMs,.999), "medians", h.mediansMs.map((x: number)=>x.toFixed(2)).join(" "), "lost", h.lost, "cpu w", (h.writerCpuUs/1e3).toFixed(0), "r", (h.receiverCpuUs/1e3).toFixed(0), JSON.stringify(h.writerCounts["mimosa_coherence_frames_total out"]), JSON.stringify(h.receiverCounts["mimosa_coherence_frames_total in"]))
const redis = await startRedis(); const nats = await startNats()
for (const c of [{name:"mesh"},{name:"redis",port:redis.port},{name:"nats",port:nats.port}] as any[]) {
  const f = await Fleet.start(size, c)
  show(c.name, await f.hear({ writers: [0], rate: 2000, seconds: 3 }))
  show(c.name+" all", await f.hear({ writers: Array.from({length:size},(_, n)=>n), rate: 2000, seconds: 3 }))
  await f.end()
}
await redis.stop(); await nats.stop()
