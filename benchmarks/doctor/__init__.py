"""What the doctor predicts beside what is measured, and what its prescriptions train."""
