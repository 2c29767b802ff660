import type { Webhook } from "../../src/webhooks/Delivery.ts"

/** Whose a webhook is. */
export const tenantCalled = (id: string) => ({ id, createdAtMs: 0 })

/** A webhook that can be sent, but for what the test changes. */
export const aWebhook = (change: Partial<Webhook> = {}): Webhook => ({
  id: "boot-1-0-test",
  url: "https://hooks.example/a",
  body: '{"key":"session:1"}',
  headers: {},
  trigger: "test",
  key: "session:1",
  event: "ON_EXPIRE",
  sequence: 1,
  createdAtMs: 0,
  ...change
})
