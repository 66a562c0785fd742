"""What is: frozen data and pure functions over it. No torch, no peft, no notebook."""
