/** Properties of fast-check draw from the seed of the run, as all random tests do (Random.ts). */
import * as fc from "fast-check"

fc.configureGlobal({ seed: Number(process.env.MIMOSA_SEED ?? 1) })
