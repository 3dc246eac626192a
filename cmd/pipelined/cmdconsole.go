package main

import "github.com/pipelined/pipelined/internal/terminal"

// console gives what a console's configuration has in common in every command.
func (p *program) console() terminal.ConsoleConfig {
	return terminal.ConsoleConfig{Out: p.stdout, Err: p.stderr, Now: p.now, Quiet: p.quiet, Plain: p.plain()}
}

// plain reports that no cursor tricks are wanted.
func (p *program) plain() bool {
	return p.noColor || p.getenv("NO_COLOR") != "" || p.getenv("TERM") == "dumb"
}

// color reports whether a stream may be coloured.
func (p *program) color(s *terminal.Stream) bool { return s.Terminal && !p.plain() }
