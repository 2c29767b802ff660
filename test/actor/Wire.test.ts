/** Requests and answers as JSON: what a wire between processes carries. */
import { Cause, Effect, Exit, Option, Request, Schema } from "effect"
import { describe, expect, expectTypeOf, it } from "vitest"
import { type ActorError, GenServer, Wire } from "../../src/actor/index.ts"
import { Simulation } from "../../src/testing/index.ts"
import { behaviour, failure } from "./support.ts"

class Overdrawn extends Schema.TaggedError<Overdrawn>()("Overdrawn", { missing: Schema.Number }) {}

class Balance extends Schema.TaggedRequest<Balance>()("Balance", {
  failure: Schema.Never,
  success: Schema.Number,
  payload: {}
}) {}
class Withdraw extends Schema.TaggedRequest<Withdraw>()("Withdraw", {
  failure: Overdrawn,
  success: Schema.Struct({ left: Schema.Number, at: Schema.Date }),
  payload: { amount: Schema.Positive, at: Schema.Date }
}) {}
class Freeze extends Schema.TaggedRequest<Freeze>()("Freeze", {
  failure: Schema.Never,
  success: Schema.Void,
  payload: {}
}) {}
class Round extends Schema.TaggedRequest<Round>()("Round", {
  failure: Schema.Never,
  success: Schema.Int,
  payload: {}
}) {}
/** Of this process only: it has no schema. */
class Close extends Request.TaggedClass("Close")<"closed", "busy", object> {}

interface AccountProtocol extends GenServer.Protocol {
  readonly call: Balance | Withdraw | Freeze | Round | Close
}

const Account = GenServer.define<AccountProtocol>()({
  name: "account",
  init: (balance: number) => GenServer.Ok(balance),
  handleCall: {
    Balance: (_, balance) => GenServer.Reply(balance, balance),
    Withdraw: ({ amount, at }, balance) =>
      amount > balance
        ? GenServer.Fail(new Overdrawn({ missing: amount - balance }), balance)
        : GenServer.Reply({ left: balance - amount, at }, balance - amount),
    Freeze: (_, balance) => GenServer.NoReply(balance),
    Round: (_, balance) => GenServer.Reply(balance / 2, balance),
    Close: (_, balance) => GenServer.Reply("closed", balance)
  },
  handleInfo: (_, balance) => GenServer.NoReply(balance)
})

const Requests = Schema.Union(Balance, Withdraw, Freeze, Round)

/** As two machines would: nothing but text goes from one to the other. */
const overTheWire = <A extends Balance | Withdraw>(server: GenServer.RefOf<AccountProtocol>, request: A) =>
  Effect.gen(function* () {
    const sent = JSON.stringify(yield* Schema.encode(Requests)(request))
    const answer = JSON.stringify(yield* Wire.callEncoded(server, Requests, JSON.parse(sent), { timeout: 100 }))
    return yield* Schema.deserializeExit(Schema.asSerializableWithResult(request), JSON.parse(answer))
  }) as Effect.Effect<Exit.Exit<unknown, unknown>>

describe("requests described by schemas", () => {
  it("have the answers that their schemas say, beside requests without one", () => {
    const checked = Effect.gen(function* () {
      const account = yield* GenServer.start(Account, 10)
      const left = yield* GenServer.call(account, new Withdraw({ amount: 4, at: new Date(7) }))
      expectTypeOf(left).toEqualTypeOf<{ readonly left: number; readonly at: Date }>()
      const closed = yield* GenServer.call(account, new Close())
      expectTypeOf(closed).toEqualTypeOf<"closed">()
      const withdrawn = GenServer.call(account, new Withdraw({ amount: 1, at: new Date(0) }))
      expectTypeOf<Effect.Effect.Error<typeof withdrawn>>().toEqualTypeOf<Overdrawn | ActorError.CallError>()
      // @ts-expect-error: a server of other requests
      const _other = () => Wire.callEncoded(account as GenServer.ServerRef<Close>, Requests, {})
      // @ts-expect-error: a request without a schema cannot be decoded
      const _undescribed = () => Wire.callEncoded(account, Close, {})
      return [left.left, closed]
    })
    const exit = Simulation.make({ seed: 1 }).run(Effect.scoped(checked) as Effect.Effect<unknown>)
    expect(exit).toEqual(Exit.succeed([6, "closed"]))
  })

  behaviour("come back through JSON with their success, dates and all", () =>
    Effect.gen(function* () {
      const account = yield* GenServer.start(Account, 10)
      const at = new Date("2026-01-02T03:04:05Z")
      expect(yield* overTheWire(account, new Withdraw({ amount: 4, at }))).toEqual(Exit.succeed({ left: 6, at }))
      expect(yield* overTheWire(account, new Balance())).toEqual(Exit.succeed(6))
    })
  )

  behaviour("come back through JSON with their typed error", () =>
    Effect.gen(function* () {
      const account = yield* GenServer.start(Account, 10)
      const exit = yield* overTheWire(account, new Withdraw({ amount: 14, at: new Date(0) }))
      const error = Option.getOrThrow(Cause.failureOption(Exit.isFailure(exit) ? exit.cause : Cause.empty))
      expect(error).toBeInstanceOf(Overdrawn)
      expect(error).toMatchObject({ missing: 4 })
      expect(yield* GenServer.call(account, new Balance())).toBe(10)
    })
  )

  behaviour("that are none of the server's are refused with what is wrong, and the server is not asked", () =>
    Effect.gen(function* () {
      const account = yield* GenServer.start(Account, 10)
      const wrong = [
        [{ _tag: "Withdraw", amount: -1, at: "2026-01-02" }, /^not a request of this server: amount: .*positive/],
        [{ _tag: "Withdraw", amount: 1 }, /: at: is missing/],
        [{ _tag: "Withdraw", amount: "x".repeat(100_000), at: "2026-01-02" }, /: amount: Expected .*number/],
        [{ _tag: "Close" }, /_tag: Expected .*"Balance" \| "Withdraw"/],
        [{ _tag: "constructor" }, /_tag: Expected/],
        [null, /Expected .*null/],
        ["Balance", /Expected .*"Balance"/]
      ] as const
      for (const [encoded, message] of wrong) {
        const error = yield* Effect.flip(Wire.callEncoded(account, Requests, encoded))
        expect(error._tag).toBe("BadRequest")
        expect(error.message).toMatch(message)
        expect(error.message.length).toBeLessThan(400)
      }
      expect(yield* GenServer.call(account, new Balance())).toBe(10)
    })
  )

  behaviour("without an answer fail like any call, by type", () =>
    Effect.gen(function* () {
      const account = yield* GenServer.start(Account, 10)
      const frozen = Wire.callEncoded(account, Requests, { _tag: "Freeze" }, { timeout: 100 })
      expect(yield* failure(frozen)).toBe("CallTimeout")
      yield* GenServer.stop(account)
      expect(yield* failure(frozen)).toBe("NoProcess")
    })
  )

  behaviour("whose answer breaks their own schema are a defect", () =>
    Effect.gen(function* () {
      const account = yield* GenServer.start(Account, 5)
      const exit = yield* Effect.exit(Wire.callEncoded(account, Requests, { _tag: "Round" }))
      expect(Exit.isFailure(exit) && Cause.isDie(exit.cause)).toBe(true)
      expect(String(exit)).toMatch(/an integer/)
    })
  )
})
