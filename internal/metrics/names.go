package metrics

import "sync"

const (
	// maxNames is how many names of pipelines a node uses as labels.
	maxNames = 100
	// otherName stands for all further ones.
	otherName = "_other"
)

// names bounds the one label that users choose.
type names struct {
	mu    sync.Mutex // guards following
	known map[string]bool
}

// label is the name itself if it is one of the first that were asked for.
func (n *names) label(name string) string {
	n.mu.Lock()
	defer n.mu.Unlock()

	if n.known[name] {
		return name
	}
	if len(n.known) >= maxNames {
		return otherName
	}

	if n.known == nil {
		n.known = map[string]bool{}
	}
	n.known[name] = true
	return name
}
