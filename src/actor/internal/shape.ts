/**
 * The shape of a value without its content, for crash reports: what a state or a message looks like, and no secret.
 *
 * Names of fields, tags and classes, sizes, numbers of elements, booleans; never the text of a string, a number, or a
 * key of a Map or of an object that serves as one. Of fields whose names speak of secrets, and of `Redacted`, not even
 * that.
 */
import * as Redacted from "effect/Redacted"

export const shapeOf = (value: unknown, depth = 0): string => {
  switch (typeof value) {
    case "string":
      return `string(${value.length})`
    case "boolean":
      return String(value)
    case "object":
      return value === null ? "null" : objectShape(value, depth)
    default:
      return typeof value
  }
}

const depthMax = 2 // levels; beyond them a report is hard to read
const fieldsMax = 16 // per object

const objectShape = (value: object, depth: number): string => {
  if (Redacted.isRedacted(value)) return redacted
  if (Array.isArray(value)) return `array(${value.length})`
  if (value instanceof Map || value instanceof Set) return `${value.constructor.name}(${value.size})`
  if (ArrayBuffer.isView(value)) return `${value.constructor.name}(${value.byteLength} bytes)`
  const name = nameOf(value)
  const keys = Object.keys(value).filter((key) => key !== "_tag")
  if (keys.length === 0 && name !== "") return name
  if (!keys.every(isFieldName)) return `${name === "" ? "record" : name}(${keys.length})`
  if (depth >= depthMax) return name === "" ? "{…}" : name
  const fields = keys.slice(0, fieldsMax).map((key) => `${key}: ${fieldShape(value, key, depth)}`)
  if (keys.length > fieldsMax) fields.push(`… ${keys.length - fieldsMax} more`)
  return `${name}{${fields.join(", ")}}`
}

/** A getter may do anything, so it is not asked. */
const fieldShape = (value: object, key: string, depth: number): string => {
  if (secretName.test(key)) return redacted
  const property = Object.getOwnPropertyDescriptor(value, key)
  return property !== undefined && "value" in property ? shapeOf(property.value, depth + 1) : "getter"
}

const redacted = "redacted"

const secretName = /passw|passphrase|pwd|token|secret|authorization|cookie|credential|api[-_]?key|private[-_]?key/i

/** What a programmer would write, or a header's name. Any other key came from outside, such as a session's. */
const isFieldName = (key: string): boolean => /^([A-Za-z_$][A-Za-z_$\d]{0,39}|[A-Za-z]+(-[A-Za-z]+)*)$/.test(key)

const nameOf = (value: object): string => {
  const tag = Object.getOwnPropertyDescriptor(value, "_tag")?.value
  if (typeof tag === "string") return tag
  const name = Object.getPrototypeOf(value)?.constructor?.name
  return name === undefined || name === "Object" ? "" : name
}
