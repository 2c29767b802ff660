import { describe, expect, it } from "vitest"
import { headersOf, refusalOf, type Webhook } from "../../src/webhooks/Delivery.ts"
import { aWebhook } from "./AWebhook.ts"

const reasonOf = (change: Partial<Webhook>) => refusalOf(aWebhook(change))

describe("the id of a webhook", () => {
  it.each(["boot-1-0-a.b", "order.42", '~!"#{}', "x".repeat(512)])("may be any visible ASCII: %j", (id) => {
    expect(reasonOf({ id })).toBeUndefined()
  })

  it.each(["", "a b", "a\r\nb", "ä", "x".repeat(513)])("is refused when it cannot be sent as a header: %j", (id) => {
    expect(reasonOf({ id })).toContain("the id must be")
  })
})

describe("the headers of a webhook", () => {
  it("are the caller's, with those of Standard Webhooks and the time of the attempt", () => {
    const webhook = aWebhook({ id: "id-1", headers: { "x-team": "a" } })
    expect(headersOf(webhook, 1_700_000_000_999, "mimosa/1.2.3")).toEqual({
      "x-team": "a",
      "content-type": "application/json",
      "user-agent": "mimosa/1.2.3",
      "webhook-id": "id-1",
      "webhook-timestamp": "1700000000"
    })
  })

  it.each([
    [{ "X-Team": "a b\tc", authorization: "Bearer x", "x-latin": "é" }, undefined],
    [{ "x-a": "b\r\nhost: evil" }, "line break"],
    [{ "x-a": "b\nc" }, "line break"],
    [{ "x-a": "b\u0000" }, "control character"],
    [{ "x-a": "日" }, "control character"],
    [{ "x-a\r\nx-b": "c" }, '"x-a\\r\\nx-b" is no header name'],
    [{ "": "c" }, '"" is no header name'],
    [{ "x a": "c" }, "is no header name"],
    [{ Host: "evil" }, "the header Host is not for webhooks to set"],
    [{ "Content-Length": "1" }, "not for webhooks to set"],
    [{ "transfer-encoding": "chunked" }, "not for webhooks to set"],
    [{ connection: "close" }, "not for webhooks to set"],
    [{ Upgrade: "h2c" }, "not for webhooks to set"],
    [{ "Webhook-Id": "x" }, "not for webhooks to set"],
    [{ "webhook-signature": "x" }, "not for webhooks to set"],
    [{ "content-type": "text/plain" }, "not for webhooks to set"],
    [Object.fromEntries(Array.from({ length: 33 }, (_, i) => [`x-${i}`, ""])), "more than 32 headers"],
    [{ "x-a": "a".repeat(8192) }, "more than 8192 bytes of headers"]
  ])("are refused where they would change the message: %j", (headers, reason) => {
    const refused = reasonOf({ headers: headers as Record<string, string> })
    if (reason === undefined) expect(refused).toBeUndefined()
    else expect(refused).toContain(reason)
  })
})

describe("the body of a webhook", () => {
  it("is refused past 1 MiB, counted in bytes", () => {
    expect(reasonOf({ body: "é".repeat(512 * 1024) })).toBeUndefined()
    expect(reasonOf({ body: `${"é".repeat(512 * 1024)}x` })).toBe("the body is over 1048576 bytes")
  })
})
