# run: invalid
# rules: s24 10
# error: outputs: all patterns begin with !
# error: inputs: pattern "!b" begins with ! and is the first
pipeline "globs_mistakes" {
  module "a" {
    command = ["true"]
    inputs  = ["!b", "c"]
    outputs = ["!x", "!y"]
  }
}
