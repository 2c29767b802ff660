/** TTLs as Lua and HTTP say them: seconds, with fractions. */

/** The largest there is, about 31,700 years; far below where milliseconds cease to be exact. */
export const ttlSecondsMax = 1e12

/** Whole ms of so many seconds, rounded up and at least one; undefined for what is no TTL. */
export const ttlMsOf = (seconds: number): number | undefined =>
  seconds > 0 && seconds <= ttlSecondsMax ? Math.max(1, Math.ceil(seconds * 1000 - slackMs)) : undefined

const slackMs = 0.001 // 16.1 * 1000 is 16100.000000000002, and meant as 16100
