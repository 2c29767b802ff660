/** What coherence costs and how fast it is, by suites that can be run one by one: `npm run bench -- coherence.set`. */
import { suites as propagation } from "./coherencePropagation.bench.ts"
import { suite as scale } from "./coherenceScale.bench.ts"
import { suite as set } from "./coherenceSet.bench.ts"
import type { Suite } from "./Figure.ts"

export const suites: readonly Suite[] = [set, ...propagation, scale]
