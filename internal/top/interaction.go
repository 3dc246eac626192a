package top

import "github.com/pipelined/pipelined/internal/terminal"

// interaction is what the person is doing besides looking.
type interaction struct {
	// pager covers the tables; nil if there is none. pagers counts them, so that text
	// for an earlier one is not confused with that of the present one.
	pager  *pager
	pagers int
	// question waits for y or n; yes is what then happens.
	question string
	yes      func(*App)
	// typing is set while a filter is typed.
	typing bool
	// message is about the newest action; bad marks an error.
	message string
	bad     bool
}

func (u *interaction) close() {
	if u.pager != nil && u.pager.stop != nil {
		u.pager.stop()
	}
	u.pager = nil
}

// say shows a message until the next key.
func (u *interaction) say(text string, bad bool) { u.message, u.bad = text, bad }

// ask asks before something is changed.
func (u *interaction) ask(question string, yes func(*App)) { u.question, u.yes = question, yes }

// page opens a pager; stop ends what fills it.
func (u *interaction) page(title, text string, stop func()) *pager {
	u.close()
	u.pagers++
	u.pager = &pager{title: title, stop: stop}
	u.pager.add(text)
	return u.pager
}

// takeText takes text for a pager, if that is still shown. err says why no more comes;
// nil with an empty text means that this is all.
func (u *interaction) takeText(number int, text string, err error) {
	p := u.pager
	if p == nil || number != u.pagers {
		return
	}

	p.add(text)
	switch {
	case err != nil:
		p.note = terminal.OneLine(err.Error())
	case text == "":
		p.note = "end"
	}
}
