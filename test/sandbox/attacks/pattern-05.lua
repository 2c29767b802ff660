-- ends: killed
return (('a'):rep(2000)):find('[^b]*[^b]*[^b]*[^b]*b')
