/**
 * What becomes of a delivery after an attempt: pure, with time and chance passed in.
 *
 * Tried again: what may pass by itself (no connection, no answer in time, 408, 429, 5xx), and a redirect, which is
 * never followed. Given up at once: every other answer, for the receiver has seen the request and does not want it.
 */
import type { DeathCause } from "./WebhookOutbox.ts"

export interface RetrySettings {
  /** Attempts at most, the first one included. */
  readonly attemptsMax: number
  /** Milliseconds before the second attempt; each later wait is `growth` times the one before. */
  readonly baseMs: number
  readonly growth: number
  /** Milliseconds at most between two attempts, Retry-After included. */
  readonly maxMs: number
}

/** What went wrong, in words. */
export interface Mishap {
  /** For operators. */
  readonly detail: string
  /** For tenants, without the addresses that names lead to. */
  readonly shown: string
}

/** What an attempt met. */
export type Outcome =
  | { readonly type: "answer"; readonly status: number; readonly retryAfter: string | undefined }
  | ({ readonly type: "failure" | "refused" } & Mishap)

export type Verdict =
  | { readonly type: "delivered" }
  | ({ readonly type: "retry"; readonly atMs: number } & Mishap)
  | ({ readonly type: "dead"; readonly cause: DeathCause } & Mishap)

/** `attempt` counts from 1; `chance` is from 0 up to but not including 1. */
export const judge = (
  outcome: Outcome,
  attempt: number,
  nowMs: number,
  chance: number,
  settings: RetrySettings
): Verdict => {
  if (outcome.type === "answer" && isSuccess(outcome.status)) return { type: "delivered" }
  const { detail, shown } = outcome.type === "answer" ? mishap(`status ${outcome.status}`) : outcome
  if (outcome.type === "refused") return { type: "dead", cause: "egress", detail, shown }
  if (outcome.type === "answer" && !mayPass(outcome.status)) return { type: "dead", cause: "answer", detail, shown }
  if (attempt >= settings.attemptsMax) return { type: "dead", cause: "attempts", detail, shown }

  const asked = outcome.type === "answer" ? retryAfterMs(outcome.retryAfter, nowMs) : 0
  const waitMs = Math.min(Math.max(backOffMs(attempt, chance, settings), asked), settings.maxMs)
  return { type: "retry", atMs: nowMs + waitMs, detail, shown }
}

/** One that says the same to everybody. */
export const mishap = (detail: string): Mishap => ({ detail, shown: detail })

/** From half of the step to the whole of it, so that what failed together does not come back together. */
const backOffMs = (attempt: number, chance: number, { baseMs, growth, maxMs }: RetrySettings): number =>
  Math.ceil(Math.min(baseMs * growth ** (attempt - 1), maxMs) * (0.5 + chance / 2))

/** RFC 9110, 10.2.3: seconds, or a date. What is neither asks for nothing. */
const retryAfterMs = (header: string | undefined, nowMs: number): number => {
  if (header === undefined) return 0
  if (/^\d+$/.test(header)) return Number(header) * 1000
  const atMs = Date.parse(header)
  return Number.isNaN(atMs) ? 0 : Math.max(0, atMs - nowMs)
}

const isSuccess = (status: number): boolean => status >= 200 && status < 300

const mayPass = (status: number): boolean => status < 400 || status === 408 || status === 429 || status >= 500
