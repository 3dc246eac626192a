# run: failed
# rules: 3 s23
# b[1]: succeeded
# b[2]: failed
# c: skipped "dependency b[2] failed"
pipeline "matrix_one_fails" {
  workspace {
    exclude = ["**"]
  }
  on_failure = "continue"
  module "b" {
    matrix = { n = [1, 2] }
    script = "test ${matrix.n} = 1"
  }
  module "c" {
    depends_on = [module.b]
    command    = ["true"]
  }
}
