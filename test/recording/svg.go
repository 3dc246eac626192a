package recording

import (
	"fmt"
	"html"
	"slices"
	"strings"
	"time"
)

// frame is what the terminal showed from a moment on.
type frame struct {
	at    time.Duration
	lines [][]cell
	// note stands below, in the last row.
	note string
}

const (
	// cellWidth and lineHeight are the size of a character, in pixels.
	cellWidth  = 8.0
	lineHeight = 18
	// margin is around the text.
	margin = 14
	// hold is how long the end stays.
	hold = 5 * time.Second
)

// colours are those of the terminal, by the last number of a style.
var colours = map[string]string{"31": "#ff7b72", "32": "#7ee787", "33": "#e3b341", "34": "#79c0ff", "35": "#d2a8ff", "36": "#76e3ea", "2": "#8b949e", "90": "#8b949e"}

// svg draws frames one after the other, without end. Who wants no motion sees the last one.
func svg(frames []frame, columns int) string {
	rows := 0
	for _, f := range frames {
		rows = max(rows, len(f.lines)+2) // the last one is for notes
	}
	total := frames[len(frames)-1].at + hold
	percent := func(d time.Duration) string {
		return strings.TrimRight(strings.TrimRight(fmt.Sprintf("%.3f", 100*d.Seconds()/total.Seconds()), "0"), ".")
	}
	width, height := int(cellWidth*float64(columns))+2*margin, lineHeight*rows+2*margin

	var defs, css, body strings.Builder
	known := map[string]string{}
	for i, f := range frames {
		end := total
		if i+1 < len(frames) {
			end = frames[i+1].at
		}
		from, to := percent(f.at), percent(end)
		fmt.Fprintf(&css, "#f%d{animation:k%d %.2fs step-end infinite}@keyframes k%d{0%%{visibility:%s}%s%%{visibility:visible}%s%%{visibility:hidden}100%%{visibility:hidden}}\n",
			i, i, total.Seconds(), i, map[bool]string{true: "visible", false: "hidden"}[f.at == 0], from, to)
		fmt.Fprintf(&body, `<g class="f" id="f%d">`, i)
		for y, line := range f.lines {
			text := row(line)
			if text == "" {
				continue
			}
			id, ok := known[text]
			if !ok {
				id = fmt.Sprintf("r%d", len(known))
				known[text] = id
				fmt.Fprintf(&defs, `<text id="%s">%s</text>`+"\n", id, text)
			}
			fmt.Fprintf(&body, `<use href="#%s" y="%d"/>`, id, y*lineHeight)
		}
		if f.note != "" {
			fmt.Fprintf(&body, `<text y="%d" fill="#ff7b72" >%s</text>`, (rows-1)*lineHeight, html.EscapeString(f.note))
		}
		body.WriteString("</g>\n")
	}

	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-label="pipelined submit on three nodes, whose leader is killed">
<style>
text{font:13.3px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;white-space:pre}
.f{visibility:hidden}
%s@media (prefers-reduced-motion:reduce){.f{animation:none!important}#f%d{visibility:visible}}
</style>
<defs>
%s</defs>
<rect width="100%%" height="100%%" rx="8" fill="#0d1117"/>
<g transform="translate(%d %d)" fill="#e6edf3">
%s</g>
</svg>
`, width, height, width, height, css.String(), len(frames)-1, defs.String(), margin, margin+13, body.String())
}

// row draws a line: its pieces of one style, each where its first character is.
func row(line []cell) string {
	var b strings.Builder
	for i := 0; i < len(line); {
		j := i
		var text strings.Builder
		for j < len(line) && line[j].style == line[i].style {
			text.WriteRune(line[j].r)
			j++
		}
		if strings.TrimSpace(text.String()) != "" {
			fmt.Fprintf(&b, `<tspan x="%.0f" textLength="%.0f" lengthAdjust="spacingAndGlyphs"%s>%s</tspan>`, cellWidth*float64(i), cellWidth*float64(j-i), look(line[i].style), html.EscapeString(text.String()))
		}
		i = j
	}
	return b.String()
}

// look is a style as attributes.
func look(style string) string {
	var out string
	codes := strings.Split(style, ";")
	if slices.Contains(codes, "1") {
		out += ` font-weight="bold"`
	}
	for _, c := range codes {
		if colour := colours[c]; colour != "" {
			out += ` fill="` + colour + `"`
			break
		}
	}
	return out
}
