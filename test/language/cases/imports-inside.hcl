# run: invalid
# rules: 10 imports
# error: lib/faulty.hcl:2:14: unknown local "nothing"
# error: lib/faulty.hcl:6:3: second local "text"
# error: the first is at
pipeline "imports-inside" {
  imports = ["lib/faulty.hcl"]

  locals {
    text = "mine"
  }

  module "a" {
    command = ["echo", local.broken]
  }
}
