// Terminal output as spans of text with classes: colours, weights and links into the web
// are kept, everything else that a terminal would do is left out.

export interface Span { text: string; classes: string; colour?: string; background?: string; href?: string }

// most is how much of a line is shown, in characters.
export const most = 4096

// A sequence of a terminal, or a control character that is no tab.
const sequence = /\x1b(?:\[([0-9;:]*)[ -/]*([@-~]|$)|\]([^\x07\x1b]*)(?:\x07|\x1b\\)?|[P^_X][^\x1b]*(?:\x1b\\)?|[ -/]*[0-~])|[\x00-\x08\x0b-\x1f\x7f-\x9f]/g

export function spans(line: string): Span[] {
  // What a carriage return overwrites is not shown.
  const end = line.endsWith('\r') ? line.length - 1 : line.length
  const text = line.slice(line.lastIndexOf('\r', end - 1) + 1, end)
  if (!/[\x00-\x08\x0b-\x1f\x7f-\x9f]/.test(text)) return [{ text, classes: '' }]

  const pen = new Pen()
  const out: Span[] = []
  let at = 0
  sequence.lastIndex = 0
  for (let m; (m = sequence.exec(text)); at = sequence.lastIndex) {
    if (m.index > at) out.push(pen.span(text.slice(at, m.index)))
    if (m[2] === 'm') pen.set((m[1] || '0').split(/[;:]/).map(Number))
    else if (m[3]?.startsWith('8;')) pen.href = webAddress(m[3].slice(m[3].indexOf(';', 2) + 1))
  }
  if (at < text.length) out.push(pen.span(text.slice(at)))

  return out
}

// plain is the text of a line without sequences, as a search sees it.
export const plain = (line: string) => spans(line).map((s) => s.text).join('')

// webAddress is an address of a page in the web; none for every other one, such as javascript:.
function webAddress(text: string): string | undefined {
  const url = /^https?:\/\//i.test(text) && URL.canParse(text) ? new URL(text) : undefined
  return url && /^https?:$/.test(url.protocol) ? url.href : undefined
}

class Pen {
  href?: string

  private fore = ''
  private back = ''
  private flags = new Set<string>()

  span(text: string): Span {
    const own = (c: string) => (c.startsWith('rgb') ? c : undefined)
    const named = [this.fore && !own(this.fore) ? 'f' + this.fore : '', this.back && !own(this.back) ? 'g' + this.back : '', ...this.flags]
    return { text, classes: named.filter(Boolean).join(' '), colour: own(this.fore), background: own(this.back), href: this.href }
  }

  set(codes: number[]) {
    for (let i = 0; i < codes.length; i++) {
      const n = codes[i]
      if (n === 0) (this.fore = this.back = ''), this.flags.clear()
      else if (n === 1) this.flags.add('bold')
      else if (n === 2) this.flags.add('dim')
      else if (n === 3) this.flags.add('italic')
      else if (n === 4) this.flags.add('under')
      else if (n === 7) this.flags.add('inverse')
      else if (n === 22) this.flags.delete('bold'), this.flags.delete('dim')
      else if (n === 23) this.flags.delete('italic')
      else if (n === 24) this.flags.delete('under')
      else if (n === 27) this.flags.delete('inverse')
      else if (n >= 30 && n <= 37) this.fore = String(n - 30)
      else if (n >= 90 && n <= 97) this.fore = String(n - 82)
      else if (n === 39) this.fore = ''
      else if (n >= 40 && n <= 47) this.back = String(n - 40)
      else if (n >= 100 && n <= 107) this.back = String(n - 92)
      else if (n === 49) this.back = ''
      else if (n === 38 || n === 48) {
        const [c, used] = extended(codes.slice(i + 1))
        if (n === 38) this.fore = c
        else this.back = c
        i += used
      }
    }
  }
}

// extended reads a colour of 256, or one by its parts.
function extended([kind, a = 0, b = 0, c = 0]: number[]): [string, number] {
  if (kind === 2) return [`rgb(${a & 255},${b & 255},${c & 255})`, 4]
  if (kind !== 5) return ['', 0]
  if (a < 16) return [String(a), 2]
  if (a > 231) return [`rgb(${Array(3).fill((a - 232) * 10 + 8).join()})`, 2]
  const part = (n: number) => (n ? n * 40 + 55 : 0)
  const v = a - 16
  return [`rgb(${part(Math.floor(v / 36))},${part(Math.floor(v / 6) % 6)},${part(v % 6)})`, 2]
}
