// A box of the graph: a module, or a block with a cell for each instance.
import { cut } from './canvas'
import { colour, type Kind } from './icons'

export interface Box { block: number; module: number; x: number; y: number; width: number; height: number }

// Face is what a box shows.
export interface Face { kind: Kind; title: string; line: string; cells?: Kind[]; part?: number; dim?: boolean; critical?: boolean }

// Below this scale a box shows its colour and shape only.
export const readable = 0.5

export class Boxes {
  constructor(private c: CanvasRenderingContext2D, private colour: (name: string) => string, private font: () => string) {}

  // draw draws a box at a scale.
  draw(n: Box, face: Face | undefined, scale: number, chosen: boolean) {
    if (!face) return
    const c = this.c
    const kind = colour(face.kind)
    const idle = face.kind === 'wait' || face.kind === 'skip'
    c.globalAlpha = 1
    c.fillStyle = this.colour('surface')
    if (face.dim) {
      // What lies below would shine through.
      box(c, n)
      c.fill()
      c.globalAlpha = 0.3
    }

    if (scale < readable) {
      c.fillStyle = this.colour(kind + '-bg')
      c.strokeStyle = this.colour(chosen ? 'ink' : kind + '-mid')
      c.lineWidth = (chosen ? 3 : 1.5) / scale
      c.fillRect(n.x, n.y, n.width, n.height)
      c.strokeRect(n.x, n.y, n.width, n.height)
      if (scale > 0.15 || face.kind === 'bad') this.shape(face.kind, n.x + n.width / 2 - 16, n.y + n.height / 2 - 16, 32)
      c.globalAlpha = 1
      return
    }

    c.fillStyle = this.colour(idle ? 'sunken' : 'surface')
    c.strokeStyle = this.colour(chosen ? 'run-mid' : face.kind === 'run' || face.kind === 'bad' ? kind + '-mid' : face.critical ? 'ink2' : 'line2')
    c.lineWidth = chosen ? 2.5 : face.critical ? 1.75 : 1
    c.setLineDash(face.kind === 'wait' ? [4, 3] : [])
    box(c, n)
    c.fill()
    c.stroke()
    c.setLineDash([])
    this.shape(face.kind, n.x + 8, n.y + 6, 16)
    c.textBaseline = 'alphabetic'
    c.fillStyle = this.colour(idle ? 'ink2' : 'ink')
    c.font = `560 12.5px ${this.font()}`
    c.fillText(cut(c, face.title, n.width - 38), n.x + 30, n.y + 18)
    c.fillStyle = this.colour('ink3')
    c.font = `11px ${this.font()}`
    c.fillText(cut(c, face.line, n.width - 38), n.x + 30, n.y + 33)
    if (face.cells) this.cells(n, face.cells)
    if (face.part) {
      c.fillStyle = this.colour('run-bg')
      c.fillRect(n.x + 8, n.y + n.height - 3, n.width - 16, 2)
      c.fillStyle = this.colour('run-mid')
      c.fillRect(n.x + 8, n.y + n.height - 3, (n.width - 16) * face.part, 2)
    }
    c.globalAlpha = 1
  }

  private cells(n: Box, cells: Kind[]) {
    const c = this.c
    const across = cells.length < 8 ? Math.max(1, cells.length) : 14
    const room = n.width - 16
    const step = cells.length < 8 ? Math.min(18, room / across) : room / across
    cells.forEach((kind, i) => {
      const [x, y] = [n.x + 8 + (i % across) * step, n.y + 41 + Math.floor(i / across) * 9]
      if (y + 7 > n.y + n.height) return
      c.fillStyle = this.colour(kind === 'wait' ? 'line2' : colour(kind) + '-mid')
      c.fillRect(x, y, step - 2, 7)
    })
  }

  private shape(kind: Kind, x: number, y: number, size: number) {
    const c = this.c
    c.save()
    c.translate(x, y)
    c.scale(size / 16, size / 16)
    c.strokeStyle = c.fillStyle = this.colour(colour(kind))
    c.lineWidth = 1.6
    c.lineCap = c.lineJoin = 'round'
    const cutOut = (path: string) => {
      c.strokeStyle = this.colour('surface')
      c.lineWidth = 1.7
      c.stroke(shapes(path))
    }
    const disc = 'M8 1.6a6.4 6.4 0 1 1 0 12.8 6.4 6.4 0 0 1 0-12.8z'
    const ring = 'M8 2.4a5.6 5.6 0 1 1 0 11.2 5.6 5.6 0 0 1 0-11.2z'
    if (kind === 'ok') c.fill(shapes(disc)), cutOut('m5.2 8.2 2 2 3.8-4.2')
    else if (kind === 'bad') c.fill(shapes('M5.3 1.6h5.4l3.7 3.7v5.4l-3.7 3.7H5.3l-3.7-3.7V5.3z')), cutOut('m5.8 5.8 4.4 4.4m0-4.4-4.4 4.4')
    else if (kind === 'odd') c.fill(shapes('M8 1.6 14.6 13.2H1.4z')), cutOut('M8 6v3.4M8 11.4v.1')
    else if (kind === 'hit') {
      c.fill(shapes(disc))
      c.fillStyle = this.colour('surface')
      c.fill(shapes('M8.9 3.8 5.4 8.6h2.3l-.6 3.6 3.5-4.8H8.3z'))
    } else if (kind === 'ask') c.stroke(shapes('M8 2.2 3 4v4c0 3 2.2 5 5 5.8 2.8-.8 5-2.8 5-5.8V4zM5.9 7.9l1.5 1.5 2.8-2.9'))
    else if (kind === 'skip') c.stroke(shapes(ring + 'M5.4 8h5.2'))
    else if (kind === 'run') {
      c.lineWidth = 2.2
      c.globalAlpha *= 0.28
      c.stroke(shapes(ring))
      c.globalAlpha /= 0.28
      c.stroke(shapes('M8 2.4a5.6 5.6 0 0 1 5.6 5.6'))
    } else {
      c.setLineDash([2.2, 2.2])
      c.stroke(shapes(ring))
    }
    c.restore()
  }
}

const paths = new Map<string, Path2D>()
function shapes(path: string): Path2D {
  let p = paths.get(path)
  if (!p) paths.set(path, (p = new Path2D(path)))
  return p
}

function box(c: CanvasRenderingContext2D, n: Box) {
  c.beginPath()
  c.roundRect(n.x, n.y, n.width, n.height, 9)
}
