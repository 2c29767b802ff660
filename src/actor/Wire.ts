/**
 * Requests that come from outside of the process, encoded: the piece between a server and whatever carries bytes.
 *
 * A protocol whose requests are `Schema.TaggedRequest`s says how each is written down, its answer and its errors too.
 * So a wire needs to know nothing of a server but the union of its requests. What carries the bytes, who may send, and
 * how the errors of the call itself travel is the wire's business: they stay typed failures here.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import { BadRequest, type CallError, isCallError } from "./ActorError.ts"
import * as GenServer from "./GenServer.ts"

/**
 * An exit as JSON: `{ _tag: "Success", value }`, or `{ _tag: "Failure", cause: { _tag: "Fail", error } }`, both encoded
 * by the request.
 */
export type EncodedExit = Schema.ExitEncoded<unknown, unknown, unknown>

/**
 * Decodes a request by `requests` (a class, or the union of several), calls the server, and encodes how it answered.
 *
 * Fails with `BadRequest` if it is none of them, and the server is not asked then; with the errors of `GenServer.call`
 * if there is no answer. The other end makes its part with Effect's own `Schema.serialize` and
 * `Schema.deserializeExit`. An answer that its own schema cannot encode is a defect.
 *
 * @example
 * const exit = yield* Wire.callEncoded(counter, Schema.Union(Get, Add), JSON.parse(line))
 * socket.write(JSON.stringify(exit))
 */
export const callEncoded = <A extends Schema.TaggedRequest.All, I, R>(
  server: GenServer.Destination<GenServer.ServerRef<A, never, never>>,
  requests: Schema.Schema<A, I, R>,
  encoded: unknown,
  options?: GenServer.CallOptions
): Effect.Effect<EncodedExit, BadRequest | CallError, R | Schema.WithResult.Context<A>> =>
  Effect.flatMap(decode(requests, encoded), (request) => {
    const encode = (exit: Exit.Exit<unknown, unknown>) =>
      Effect.orDie(Schema.serializeExit(Schema.asSerializableWithResult(request), exit as never))
    return Effect.matchEffect(GenServer.call(server, request, options), {
      onSuccess: (value) => encode(Exit.succeed(value)),
      onFailure: (error): Effect.Effect<EncodedExit, CallError, Schema.WithResult.Context<A>> =>
        isCallError(error) ? Effect.fail(error) : encode(Exit.fail(error))
    })
  })

const decode = <A, I, R>(requests: Schema.Schema<A, I, R>, encoded: unknown): Effect.Effect<A, BadRequest, R> =>
  Effect.mapError(Schema.decodeUnknown(requests)(encoded), (cause) => {
    const [issue] = ParseResult.ArrayFormatter.formatErrorSync(cause)
    const where = issue === undefined || issue.path.length === 0 ? "" : `${issue.path.join(".")}: `
    return new BadRequest({ issue: `${where}${issue?.message ?? ""}`.slice(0, issueLengthMax), cause })
  })

const issueLengthMax = 300 // characters; the message quotes the input, which may be large
