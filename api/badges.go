package api

import (
	"fmt"
	"html"
	"strings"
	"unicode/utf8"

	"github.com/pipelined/pipelined/pipeline"
)

// badgesHandler serves pictures that say how the newest run of a pipeline ended.
type badgesHandler struct {
	histories Histories
	open      bool
}

func (h *badgesHandler) routes() []Route {
	rt := Route{Method: "GET", Pattern: "/badges/{file}", Role: RoleRead,
		Summary:  "how the newest run of a pipeline ended, as a picture (PIPELINE.svg); without a token if public_badges is set",
		Produces: mediaSVG, serve: h.serve}
	if h.open {
		rt.Role = ""
	}
	return []Route{rt}
}

const (
	mediaSVG = "image/svg+xml"
	// badgeRuns is how many runs are looked at for one that has ended: few, since anybody
	// may ask.
	badgeRuns = 5
)

func (h *badgesHandler) serve(c *call) error {
	name, ok := strings.CutSuffix(c.r.PathValue("file"), ".svg")
	if !ok || !pipeline.ValidName(name) {
		return pipeline.Errorf(pipeline.NotFound, "path: expected /badges/PIPELINE.svg")
	}
	list, err := h.histories.PipelineHistory(c.r.Context(), name, badgeRuns)
	if err != nil {
		return err
	}

	state := pipeline.RunRunning
	for _, r := range list.Newest {
		if r.State.Final() {
			state = r.State
			break
		}
	}
	header := c.w.Header()
	header.Set("Content-Type", mediaSVG)
	header.Set("Cache-Control", "no-cache") // proxies of code hosts keep pictures for long
	_, err = c.w.Write([]byte(badge(name, state)))
	return err
}

// badgeColors are behind the state; white text on each has a contrast of 4.5 at least.
var badgeColors = map[pipeline.RunState]string{pipeline.RunSucceeded: "#177245", pipeline.RunWarnings: "#8a5200", pipeline.RunFailed: "#bf2a1f", pipeline.RunRunning: "#2456d3"}

// badge draws a pipeline's name and a state beside each other.
func badge(name string, state pipeline.RunState) string {
	color, text := badgeColors[state], pipeline.Words(state)
	if color == "" {
		color = "#5d6572"
	}
	// Fonts differ: the text is fitted to the width that this estimate gives.
	width := func(s string) int { return 7*utf8.RuneCountInString(s) + 12 }
	left, right := width(name), width(text)
	title := html.EscapeString(name + ": " + text)
	part := func(x, width int, fill, text string) string {
		return fmt.Sprintf(`<rect x="%d" width="%d" height="20" fill="%s"/><text x="%d" y="14" textLength="%d">%s</text>`,
			x, width, fill, x+6, width-12, html.EscapeString(text))
	}
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="20" role="img" aria-label="%s"><title>%s</title>`+
		`<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11">%s%s</g></svg>`+"\n",
		left+right, title, title, part(0, left, "#454c59", name), part(left, right, color, text))
}
