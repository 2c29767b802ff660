/**
 * What all the processes of this JavaScript realm came to since it began, as plain numbers: counting costs one
 * addition, where the thing happens. Read by `Process.totals` and by ProcessMetrics.
 */
export const counters = {
  spawned: 0,
  /** By `normal` or `shutdown`. */
  ended: 0,
  killed: 0,
  /** Crashes whose cause is a failure: a typed error that nobody handled. */
  failed: 0,
  /** Crashes whose cause is a defect: something was thrown. */
  died: 0,
  restarts: 0,
  /** Times that a supervisor had seen too many restarts. */
  escalations: 0,
  callTimeouts: 0,
  messagesDropped: 0,
  messagesRejected: 0
}
