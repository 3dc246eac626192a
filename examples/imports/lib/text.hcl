# An imported file has templates, locals and variables, and may import others.

variable "loud" {
  type        = bool
  default     = false
  description = "Count a text in capitals"
}

locals {
  line = "the texts of imports go along with the source"
  text = var.loud ? upper(local.line) : local.line
}

template "text" {
  script = <<-SH
    echo "counting: $TEXT"
    echo "words=$(printf %s "$TEXT" | wc -w | tr -d ' ')" >> "$PIPELINED_OUTPUT"
  SH
}
