# run: succeeded
# rules: 3 s23
# kill
# b[1]: succeeded
# b[2]: succeeded
# c: succeeded
# log c: 2 1
pipeline "matrix_dependents" {
  workspace {
    exclude = ["**"]
  }
  module "b" {
    matrix = { n = [1, 2] }
    script = "echo n=${matrix.n} >> $PIPELINED_OUTPUT"
  }
  module "c" {
    command = ["echo", module.b["2"].result.n, module.b["1"].result.n]
  }
}
