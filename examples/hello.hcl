# Three modules. The first two run side by side; the third waits for both,
# because its command uses their results.
#
#   pipelined run examples/hello.hcl
#   pipelined run -var name=Ada examples/hello.hcl

pipeline "hello" {
  description = "Says hello, in three modules"

  variable "name" {
    type        = string
    default     = "world"
    description = "Whom to greet"
  }

  # Nothing here needs a file, so none is sent along.
  workspace {
    exclude = ["**"]
  }

  module "greeting" {
    script = <<-SH
      echo "looking for a word"
      echo "word=Hello" >> "$PIPELINED_OUTPUT"
    SH
  }

  module "machine" {
    script = <<-SH
      echo "looking around"
      echo "system=$(uname -s)" >> "$PIPELINED_OUTPUT"
      echo "worker=$PIPELINED_WORKER" >> "$PIPELINED_OUTPUT"
    SH
  }

  module "hello" {
    command = [
      "echo",
      "${module.greeting.result.word}, ${var.name}! This comes from ${module.machine.result.worker}, which runs ${module.machine.result.system}.",
    ]
  }
}
