/**
 * The names under which structured log records carry their facts, so that one query finds a thing in every room.
 *
 * Rooms log through Effect (`Effect.logWarning`, `Effect.annotateLogs`); the Logger that the program installs is the
 * one place where records become lines. Values are strings and numbers, and never a whole URL, header or cached value:
 * these carry secrets.
 *
 * @example
 * Effect.logWarning("webhook given up").pipe(Effect.annotateLogs({ [logAnnotation.webhook]: id }))
 */
export const logAnnotation = {
  tenant: "tenant",
  key: "key",
  /** An event's registered name: `ON_EXPIRE`. */
  event: "event",
  /** Of messages. */
  channel: "channel",
  trigger: "trigger",
  script: "script",
  /** The registered name or path of a process. */
  process: "process",
  connection: "connection",
  /** The stable id of a delivery, as its receiver sees it. */
  webhook: "webhook",
  /** Scheme, host and port of what is outside. */
  destination: "destination",
  attempt: "attempt",
  status: "status",
  /** What went wrong, in words. */
  reason: "reason",
  count: "count",
  path: "path",
  durationMs: "duration_ms"
} as const
