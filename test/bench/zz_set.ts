import { suite } from "./coherenceSet.bench.ts"
await suite.run((f) => console.log(f.id.padEnd(34), f.value.toFixed(1), f.peerValue?.toFixed(1), f.ratio?.toFixed(3), f.spread?.map((x)=>x.toFixed(0)).join("-")), () => {})
