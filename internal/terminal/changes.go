package terminal

// heldChanges holds back what is to be said of modules until the output that came
// before it was shown: the state and the output of a run arrive separately. The zero
// value holds nothing back.
type heldChanges struct {
	// on is set while output is shown.
	on bool
	// ended are the newest attempts whose output was shown to its end.
	ended map[string]int
	held  []change
}

// add takes changes and gives those that may be said. A change behind one that is
// held back, of the same module, waits too.
func (h *heldChanges) add(list []change) []change {
	h.held = append(h.held, list...)
	if !h.on {
		return h.release()
	}
	return h.due()
}

// logEnded takes note that an attempt's output was shown to its end.
func (h *heldChanges) logEnded(module string, attempt int) []change {
	if h.ended == nil {
		h.ended = map[string]int{}
	}
	h.ended[module] = max(h.ended[module], attempt)
	return h.due()
}

// release gives everything that is held back.
func (h *heldChanges) release() []change {
	list := h.held
	h.held = nil
	return list
}

func (h *heldChanges) due() []change {
	var out, rest []change
	waits := map[string]bool{}
	for _, ch := range h.held {
		if waits[ch.module] || ch.after > h.ended[ch.module] {
			waits[ch.module] = true
			rest = append(rest, ch)
		} else {
			out = append(out, ch)
		}
	}
	h.held = rest
	return out
}
