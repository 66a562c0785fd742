"""What runs: everything that touches a model. Imports torch; `peft_facts` alone knows peft."""
