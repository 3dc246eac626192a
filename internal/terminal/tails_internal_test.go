package terminal

import (
	"fmt"
	"slices"
	"testing"
)

// Lines of services, which come last, do not take the place of the module's own.
func TestTails_services(t *testing.T) {
	numbers := func(from, to int) (list []int) {
		for n := from; n <= to; n++ {
			list = append(list, n)
		}
		return list
	}
	for _, c := range []struct {
		own, beside int
		want        []int
	}{
		{3, 0, numbers(1, 3)},
		{30, 0, numbers(11, 30)},
		{3, 4, numbers(1, 7)},
		{3, 50, append(numbers(1, 3), numbers(37, 53)...)},
		{30, 50, append(numbers(11, 30), numbers(76, 80)...)},
		{0, 50, numbers(31, 50)},
	} {
		tails := newTails()
		line := func(text string) {
			tails.add(part{module: "m", text: []byte(text), begins: true})
			tails.add(part{module: "m", text: []byte(" and its end")})
		}
		for n := range c.own {
			line(fmt.Sprint("service is slow ", n))
		}
		for n := range c.beside {
			line(fmt.Sprint("service db | ", n))
		}
		var got []int
		for _, l := range tails.last("m") {
			got = append(got, l.number)
			want := fmt.Sprintf("service is slow %d and its end", l.number-1)
			if l.number > c.own {
				want = fmt.Sprintf("service db | %d and its end", l.number-c.own-1)
			}
			if l.text != want {
				t.Errorf("line %d is %q, want %q", l.number, l.text, want)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%d lines and %d of services: got %v, want %v", c.own, c.beside, got, c.want)
		}
	}
}
