/**
 * What requests of the HTTP API say, read and checked. Where it is wrong, the answer is a text that says what would be
 * right.
 */

/** The fields of a body that is a JSON object, in which `known` may be. */
export const objectOf = (body: string, known: readonly string[]): Readonly<Record<string, unknown>> | string => {
  try {
    return fieldsOf(JSON.parse(body), known)
  } catch (error) {
    return `the body is no JSON: ${(error as Error).message}`
  }
}

/** The fields of a body that was parsed. */
export const fieldsOf = (value: unknown, known: readonly string[]): Readonly<Record<string, unknown>> | string => {
  if (typeof value !== "object" || value === null || !isPlain(value)) return "the body is no JSON object"
  const unknown = Object.keys(value).find((name) => !known.includes(name))
  if (unknown !== undefined) return `'${brief(unknown)}' is no field here; there are ${known.join(", ")}`
  return value as Readonly<Record<string, unknown>>
}

/** Which lines of a log are asked for: `count` of them behind number `after`. */
export const linesAskedFor = (search: URLSearchParams): { after?: number; count?: number } | string => {
  const asked: { after?: number; count?: number } = {}
  for (const [name, text] of search) {
    if (name !== "after" && name !== "count") {
      return `'${brief(name)}' is no parameter here; there are after and count`
    }
    if (!/^\d{1,15}$/.test(text)) return `${name} is a whole number of zero or more, not '${brief(text)}'`
    asked[name] = Number(text)
  }
  return asked
}

/** How many records are asked for; undefined where that is left open. */
export const countAskedFor = (search: URLSearchParams): number | undefined | string => {
  const asked = linesAskedFor(search)
  if (typeof asked === "string") return asked
  return asked.after === undefined ? asked.count : "'after' is no parameter here; there is count"
}

/** As much of what somebody sent as an answer repeats. */
export const brief = (text: string): string => text.slice(0, 40)

const isPlain = (value: object): boolean => {
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === null || prototype === Object.prototype
}
