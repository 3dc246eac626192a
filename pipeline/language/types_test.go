package language_test

import (
	"strings"
	"testing"

	"github.com/pipelined/pipelined/pipeline/language"
)

// A type that no value of the variables can make right is named beside the other
// mistakes of the file.
func TestParse_instanceTypes(t *testing.T) {
	const names = `
variable "s" { type = string }
variable "b" { type = bool }
variable "l" { type = list(string) }
variable "o" { type = object({ n = number, l = list(string) }) }
variable "m" { type = map(string) }
variable "untyped" { description = "text" }
variable "number" { default = 5 }
variable "any" { type = any }
locals {
  near    = [var.s]
  far     = local.text
  text    = var.s
  other   = module.other.result
}
module "other" { command = ["true"] }
module "m" {
  command = ["true"]
  comand  = 1
`
	const list, matrix = "for_each: expected a list or an object, got ", "matrix: expected an object of lists, got "
	for attribute, want := range map[string]string{
		`for_each = var.s`:                          list + "a string",
		`for_each = (var.s)`:                        list + "a string",
		`for_each = var.o.n`:                        list + "a number",
		`for_each = var.o["n"]`:                     list + "a number",
		`for_each = var.m.x`:                        list + "a string",
		`for_each = var.untyped`:                    list + "a string",
		`for_each = var.number`:                     list + "a number",
		`for_each = local.far`:                      list + "a string",
		`for_each = "${var.s}-x"`:                   list + "a string",
		`for_each = var.s == "x"`:                   list + "true or false",
		`for_each = !var.b`:                         list + "true or false",
		`matrix   = var.l`:                          matrix + "a list",
		`matrix   = local.near`:                     matrix + "a list",
		`matrix   = { a = var.l, b = var.number }`:  "matrix.b: expected a list, got a number",
		`for_each = var.l`:                          "",
		`for_each = var.o`:                          "",
		`for_each = var.o.l`:                        "",
		`for_each = var.o[var.s]`:                   "",
		`for_each = var.any`:                        "",
		`for_each = "${var.l}"`:                     "",
		`for_each = local.near`:                     "",
		`for_each = local.other`:                    "",
		`for_each = local.other.list`:               "",
		`for_each = module.other.result`:            "",
		`for_each = [var.s]`:                        "",
		`for_each = [for x in [var.s] : x]`:         "",
		`for_each = split(",", var.s)`:              "",
		`matrix   = { a = var.l, (var.s) = var.s }`: "",
		`matrix   = var.o`:                          "",
	} {
		_, diags := language.Parse("p.hcl", []byte(body(names+attribute+"\n}")))
		if want == "" {
			if len(diags) != 1 {
				t.Errorf("%s: %v", attribute, diags)
			}
			continue
		}
		if len(diags) != 2 || !strings.Contains(diags[0].Summary, "comand") || diags[1].Summary != want || diags[1].Detail == "" {
			t.Errorf("%s: %v", attribute, diags)
		}
	}
}
