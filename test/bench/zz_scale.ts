setTimeout(() => process.exit(0), 32000)
import { suite } from "./coherenceScale.bench.ts"
await suite.run((f) => console.log(f.id.padEnd(34), f.value.toFixed(3), f.unit, f.spread?.map((x)=>x.toFixed(3)).join("-")), (t) => console.log(t, (performance.now()/1000).toFixed(1)))
