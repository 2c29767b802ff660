import { suites } from "./coherencePropagation.bench.ts"
for (const s of suites) if (process.argv.includes(s.name)) await s.run((f) => console.log(f.id.padEnd(34), f.value.toFixed(3), f.unit, f.peerValue?.toFixed(3), f.ratio?.toFixed(2), f.spread?.map((x)=>x.toFixed(3)).join("-")), (t) => console.log(t, (performance.now()/1000).toFixed(1)))
