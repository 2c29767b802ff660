import { Either } from "effect"
import { describe, expect, it } from "vitest"
import { destinationOf, EgressPolicy, hostOf } from "../../src/webhooks/EgressPolicy.ts"
import { EgressRefused } from "../../src/webhooks/WebhooksError.ts"

const policy = (...allow: ReadonlyArray<string>) => Either.getOrThrowWith(EgressPolicy.parse(allow), (error) => error)
const reasonOf = (url: string, ...allow: ReadonlyArray<string>) => {
  const checked = policy(...allow).checkUrl(url)
  return checked instanceof EgressRefused ? checked.reason : undefined
}

describe("a URL", () => {
  it.each([
    "http://127.0.0.1/",
    "http://127.0.0.1:6379/",
    "http://127.1/",
    "http://127.0.0.1./",
    "http://2130706433/",
    "http://017700000001/",
    "http://0177.0.0.1/",
    "http://0x7f.0.0.1/",
    "http://0x7f000001/",
    "http://%31%32%37.0.0.1/",
    "http://①②⑦.⓪.⓪.①/",
    "http://127。0。0。1/",
    "http:127.0.0.1",
    "http:\\\\127.0.0.1\\",
    "http://0/",
    "http://0.0.0.0/",
    "http://localhost/",
    "http://LOCALHOST./",
    "http://ⓛocalhost/",
    "http://a.localhost:8080/",
    "http://[::1]/",
    "http://[::]/",
    "http://[0:0:0:0:0:0:0:1]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:7f00:1]/",
    "http://[::ffff:a9fe:a9fe]/",
    "http://[::127.0.0.1]/",
    "http://[::ffff:0:127.0.0.1]/",
    "http://[64:ff9b::7f00:1]/",
    "http://[64:ff9b:1::a00:1]/",
    "http://[2002:7f00:1::]/",
    "http://[2001:0:7f00:1::1]/",
    "http://[fe80::1]/",
    "http://[fec0::1]/",
    "http://[fc00::1]/",
    "http://[fd00:ec2::254]/",
    "http://[ff02::1]/",
    "http://[2001:db8::1]/",
    "http://[4000::1]/",
    "http://10.0.0.1/",
    "http://172.16.0.1/",
    "http://172.31.255.255/",
    "http://192.168.1.1/",
    "http://169.254.169.254/latest/meta-data/",
    "http://0xa9fea9fe/",
    "http://100.64.0.1/",
    "http://100.100.100.200/",
    "http://192.0.0.192/",
    "http://192.0.2.1/",
    "http://198.18.0.1/",
    "http://198.51.100.1/",
    "http://203.0.113.1/",
    "http://224.0.0.1/",
    "http://240.0.0.1/",
    "http://255.255.255.255/"
  ])("to what is not public is refused: %s", (url) => {
    expect(reasonOf(url)).toMatch(
      /is not a public address \(\w+\); egressAllow: \["(\S+)"\] \(--egress-allow \1\) would allow it$/
    )
  })

  it.each([
    ["ftp://example.com/", "only http and https"],
    ["file:///etc/passwd", "only http and https"],
    ["gopher://127.0.0.1:6379/_SET", "only http and https"],
    ["data:text/plain,x", "only http and https"],
    ["javascript:alert(1)", "only http and https"],
    ["http://user@example.com/", "credentials"],
    ["http://:secret@example.com/", "credentials"],
    ["http://1.1.1.1 &@2.2.2.2# @3.3.3.3/", "credentials"],
    ["http://[fe80::1%25eth0]/", "not an absolute URL"],
    ["http://256.0.0.1/", "not an absolute URL"],
    ["http://example.com:99999/", "not an absolute URL"],
    ["http://exa mple.com/", "not an absolute URL"],
    ["/relative", "not an absolute URL"],
    ["", "not an absolute URL"]
  ])("that is none for a webhook is refused: %s", (url, reason) => {
    expect(reasonOf(url, "*")).toContain(reason)
  })

  it.each([
    "http://example.com/",
    "https://example.com:8443/a?b#c",
    "https://EXAMPLE.com./",
    "http://1.1.1.1/",
    "http://[2606:4700::1111]/",
    "http://localhost.example.com/",
    "http://evil.example#@127.0.0.1/"
  ])("to a public address, or to a name yet to be resolved, is let through: %s", (url) => {
    expect(reasonOf(url)).toBeUndefined()
  })

  it("says in the refusal where it led and what would allow it, and keeps the path to itself", () => {
    const refusal = EgressPolicy.publicOnly.checkUrl("http://localhost:9000/hook?token=secret") as EgressRefused
    expect(refusal.message).toBe(
      'request to http://localhost:9000 refused: localhost leads to 127.0.0.1, which is not a public address (loopback); egressAllow: ["127.0.0.1:9000"] (--egress-allow 127.0.0.1:9000) would allow it'
    )
    expect(JSON.stringify(refusal)).not.toContain("secret")
  })

  it("gives the destination by which webhooks are counted, and the host without brackets or dot", () => {
    expect(destinationOf(new URL("https://a.example:8443/x?y"))).toBe("https://a.example:8443")
    expect(hostOf(new URL("http://[::1]:80/"))).toBe("::1")
    expect(hostOf(new URL("http://A.example./"))).toBe("a.example")
  })
})

describe("a resolved address", () => {
  it.each([
    ["10.0.0.7", "private"],
    ["::ffff:10.0.0.7", "private"],
    ["::7f00:1", "unassigned"],
    ["fe80::1%eth0", "linkLocal"],
    ["", "is no IP address"],
    ["a.example", "is no IP address"]
  ])("that is not public is refused, whatever name led to it: %j", (address, reason) => {
    expect(EgressPolicy.publicOnly.refusalOfAddress("a.example", address, 80)).toContain(reason)
  })

  it("is let through when it is public", () => {
    expect(EgressPolicy.publicOnly.refusalOfAddress("a.example", "93.184.216.34", 80)).toBeUndefined()
  })
})

describe("--egress-allow", () => {
  it.each([
    ["*", "http://10.0.0.1/", "http://localhost/", "http://[::1]:9/"],
    ["10.0.0.1", "http://10.0.0.1/", "http://10.0.0.1:99/", "http://0xa000001/", "http://[::ffff:10.0.0.1]/"],
    ["10.0.0.1:8080", "http://10.0.0.1:8080/"],
    ["0x0a000001:80", "http://10.0.0.1/"],
    ["10.0.0.1:443", "https://10.0.0.1/"],
    ["10.0.0.0/8", "http://10.9.9.9/", "https://10.0.0.1:8443/"],
    ["::1", "http://[::1]/", "http://localhost:7/"],
    ["[::1]:9000", "http://[::1]:9000/", "http://localhost:9000/"],
    ["fd00::/8", "http://[fd12::1]/"],
    ["localhost", "http://localhost/", "http://LOCALHOST.:81/"],
    ["LocalHost.:81", "http://localhost:81/"],
    [" , 10.0.0.1 ,127.0.0.1:80, ", "http://10.0.0.1/", "http://127.0.0.1/"]
  ])("%s opens what it names", (item, ...urls) => {
    expect(urls.map((url) => reasonOf(url, item))).toEqual(urls.map(() => undefined))
  })

  it.each([
    ["10.0.0.1", "http://10.0.0.2/"],
    ["10.0.0.1:8080", "http://10.0.0.1/"],
    ["10.0.0.1:80", "https://10.0.0.1/"],
    ["10.0.0.0/8", "http://192.168.0.1/"],
    ["0.0.0.0/0", "http://[::1]/"],
    ["[::1]:9000", "http://localhost:9001/"],
    ["localhost:81", "http://localhost/"],
    ["localhost", "http://127.0.0.1/"],
    ["a.example", "http://localhost/"]
  ])("%s opens nothing else: %s", (item, url) => {
    expect(reasonOf(url, item)).toContain("not a public address")
  })

  it("lets a named host lead to private addresses, on its port", () => {
    const allowing = policy("hooks.internal:8080")
    expect(allowing.refusalOfAddress("hooks.internal", "10.0.0.1", 8080)).toBeUndefined()
    expect(allowing.refusalOfAddress("hooks.internal", "10.0.0.1", 80)).toContain("private")
    expect(allowing.refusalOfAddress("a.hooks.internal", "10.0.0.1", 8080)).toContain("private")
  })

  it.each([
    ["10.0.0.0/33", "is not a network"],
    ["10.0/8", "is not a network of four numbers"],
    ["a.example/24", "is not a network"],
    ["http://a.example", "is not a network"],
    ["a.example:0", "has a port that is not from 1 to 65535"],
    ["a.example:65536", "has a port that is not from 1 to 65535"],
    ["a.example:http", "is not a host, an address or a network"],
    ["*.example", "has a host that cannot be one"],
    ["a b", "has a host that cannot be one"],
    ["user@a.example", "has a host that cannot be one"],
    [":80", "has a host that cannot be one"],
    ["[::1", "is not a host, an address or a network"],
    ["1.2.3.4.5", "has a host that cannot be one"]
  ])("names the item it cannot read: %s", (item, reason) => {
    const error = Either.flip(EgressPolicy.parse(["a.example", `b.example,${item}`]))
    expect(Either.getOrThrow(error)).toMatchObject({ _tag: "EgressAllowInvalid", item, reason })
    expect(Either.getOrThrow(error).message).toContain(`egressAllow (--egress-allow): "${item}" ${reason}`)
  })
})
