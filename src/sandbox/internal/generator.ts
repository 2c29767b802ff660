/** The state of math.random (lmathlib.c, xoshiro256**: 32 bytes), written from a seed by splitmix32. */
import type { Memory } from "./memory.ts"
import type { Pointer } from "./wasm.ts"

/** Answers a seed for the next time, which makes another sequence. */
export const seedGenerator = (memory: Memory, generator: Pointer, seed: number): number => {
  let state = seed | 0
  for (let word = 0; word < 8; word++) {
    state = (state + 0x9e3779b9) | 0
    let mixed = state ^ (state >>> 16)
    mixed = Math.imul(mixed, 0x21f0aaad)
    mixed ^= mixed >>> 15
    mixed = Math.imul(mixed, 0x735a2d97)
    memory.view.setInt32(generator + 4 * word, mixed ^ (mixed >>> 15), true)
  }
  return state
}
