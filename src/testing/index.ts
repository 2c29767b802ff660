/**
 * Deterministic worlds for tests: a clock, a scheduler and random numbers from one seed.
 */
export * as Simulation from "./Simulation.ts"
