#compdef pipelined
# Completion of pipelined for zsh, as a file named _pipelined in $fpath, or:
#   eval "$(pipelined completion zsh)"

_pipelined() {
  local -a line lines items
  local word
  line=("${(@Q)words[1,CURRENT-1]}")
  line[1]=${~line[1]}
  [[ $words[CURRENT] == -* ]] && line+=("${(Q)words[CURRENT]}")
  lines=("${(@f)$("${line[@]}" --generate-shell-completion 2>/dev/null)}")
  for word in $lines; do
    items+=("${${word%%$'\t'*}//:/\\:}:${word#*$'\t'}")
  done
  if (( $#items )); then
    _describe -V pipelined items
  else
    _files
  fi
}

if [[ ${zsh_eval_context[-1]} == loadautofunc ]]; then
  _pipelined "$@"
else
  (( $+functions[compdef] )) || { autoload -Uz compinit && compinit -i }
  compdef _pipelined pipelined
fi
