# Run by child*.hcl.
pipeline "inner" {
  variable "word" {}
  variable "numbers" {
    type    = list(number)
    default = []
    validation {
      condition     = length(var.numbers) < 4
      error_message = "at most three numbers"
    }
  }

  hooks {
    before = "echo before"
  }

  module "say" {
    env    = { WORD = var.word }
    script = "echo word=$WORD >>$PIPELINED_OUTPUT"
  }
  module "count" {
    for_each = var.numbers
    script   = "echo n=${each.value} >>$PIPELINED_OUTPUT"
  }
  module "again" {
    command = ["echo", module.say.result.word]
  }
}
