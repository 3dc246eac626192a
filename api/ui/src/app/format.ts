// Texts of numbers and times, in one voice with the terminal.

export function duration(seconds: number): string {
  if (!(seconds >= 0)) return ''
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`
  if (seconds < 10) return `${seconds.toFixed(1)}s`
  const s = Math.round(seconds)
  if (s < 60) return `${s}s`
  const m = Math.floor(s / 60)
  if (m < 60) return `${m}m ${pad(s % 60)}s`
  const h = Math.floor(m / 60)
  return h < 48 ? `${h}h ${pad(m % 60)}m` : `${Math.floor(h / 24)}d ${h % 24}h`
}

// coarse is for lists: one unit is enough to find a run again.
export function coarse(seconds: number): string {
  const s = Math.max(0, Math.round(seconds))
  if (s < 60) return `${s}s`
  if (s < 3600) return `${Math.floor(s / 60)}m`
  if (s < 48 * 3600) return `${Math.floor(s / 3600)}h`
  return `${Math.floor(s / 86400)}d`
}

export function bytes(n: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
  let u = 0
  while (n >= 1024 && u < units.length - 1) {
    n /= 1024
    u++
  }
  return `${u === 0 || n >= 100 ? Math.round(n) : n.toFixed(1)} ${units[u]}`
}

export const count = (n: number, one: string, many = one + 's') => `${n.toLocaleString('en')} ${n === 1 ? one : many}`

// modulesWait is a sentence's beginning: "1 module waits".
export const modulesWait = (n: number, one = 'module') => `${count(n, one)} wait${n === 1 ? 's' : ''}`

export const seconds = (t?: string | null) => (t ? Date.parse(t) / 1000 : NaN)

export function clock(t?: string | null): string {
  if (!t) return ''
  const d = new Date(t)
  return `${pad(d.getHours())}:${pad(d.getMinutes())}:${pad(d.getSeconds())}`
}

export function dateTime(t?: string | null): string {
  if (!t) return ''
  const d = new Date(t)
  return `${d.getFullYear()}-${pad(d.getMonth() + 1)}-${pad(d.getDate())} ${clock(t)}`
}

// triggers says what made the run of a schedule.
export const triggers: Record<string, string> = { '': 'due', manual: 'triggered', backfill: 'backfill' }

export const pad = (n: number) => String(n).padStart(2, '0')

export function median(values: number[]): number {
  if (values.length === 0) return NaN
  const v = [...values].sort((a, b) => a - b)
  const m = v.length >> 1
  return v.length % 2 ? v[m] : (v[m - 1] + v[m]) / 2
}

// revision is the last part of the version of a build without a tag, which tells it from
// another one: de3bdf8c1a2b of 0.0.0-20261129150204-de3bdf8c1a2b.
export const revision = (version: string) => version.replace(/^v?\d.*[-.]\d{14}-(?=[0-9a-f]{12})/, '')

// quote makes a word of a shell's command line.
export const quote = (s: string) => (/^[A-Za-z0-9_./:=@%+-]+$/.test(s) ? s : `'${s.replaceAll("'", `'\\''`)}'`)

// roundTrip is in ms, with two digits that mean something.
export function roundTrip(seconds: number): string {
  const ms = seconds * 1000
  return ms >= 10 ? String(Math.round(ms)) : ms.toFixed(ms >= 1 ? 1 : 2)
}

// percent is of a rate from 0 to 1; '' if it is not known.
export const percent = (rate?: number) => (rate === undefined ? '' : `${rate > 0 && rate < 0.01 ? '< 1' : Math.round(rate * 100)} %`)
